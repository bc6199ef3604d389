//! How long a tampered node goes on, with real processes and a real clock. It prints what it measures.

use std::fs;
use std::time::{Duration, Instant};

use super::measured::Measured;
use super::{ISSUER, ROOT};
use crate::world::{Role, World, eventually};

/// Rounds by an operator's question, and by the schedule alone.
const ROUNDS: (usize, usize) = (6, 2);
const EVERY: Duration = Duration::from_secs(10);

#[test]
fn a_tampered_node_is_cut_in_time() {
    let Some(mut machine) = Measured::new() else { return };
    let root = machine.software.authority(ROOT);
    let world = World::with(&["--danger-software-tpm-ca", &root, "--attest-every", "10s"]);
    let mut command = world.agent_command("n", &world.path("no-token"));
    command.arg("--tpm").arg(machine.software.socket()).arg("--tpm-logs").arg(machine.logs());
    command.arg("--tpm-chain").arg(machine.software.authority(ISSUER));
    let boot = |machine: &Measured| {
        machine.boot_event(4, b"a boot loader");
        machine.measure(1, "/sbin/init");
    };
    boot(&machine);
    let agent = Role::start(&mut command);
    agent.ready();
    let (mut asked, mut scheduled) = (vec![], vec![]);
    for round in 0..ROUNDS.0 + ROUNDS.1 {
        let id = eventually("it is attested", || tpm_agent(&world));
        eventually("it shows its state", || (world.sekisho(&["agent", "attest", &id]).0 == 0).then_some(()));
        let denied = alerts(&world);
        let log = fs::read(machine.ima_log()).unwrap();
        machine.measure(7, "/tmp/implant");
        fs::write(machine.ima_log(), log).unwrap();
        let tampered = Instant::now();
        if round < ROUNDS.0 {
            assert_eq!(world.sekisho(&["agent", "attest", &id]).0, 2);
        }
        let end = tampered + EVERY + Duration::from_secs(5);
        while tpm_agent(&world).is_some() {
            assert!(Instant::now() < end, "it goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
        if round < ROUNDS.0 { &mut asked } else { &mut scheduled }.push(tampered.elapsed());
        assert!(alerts(&world) > denied);
        machine.reboot();
        boot(&machine);
    }
    asked.sort_unstable();
    println!("asked for: median {:?}, at most {:?}", asked[asked.len() / 2], asked[asked.len() - 1]);
    println!("by schedule, every {EVERY:?}: {scheduled:?}");
}

fn tpm_agent(world: &World) -> Option<String> {
    let agents = world.json(&["agents", "list"]);
    let agent = agents.as_array()?.iter().find(|agent| agent["attestation_type"] == "danger_software_tpm")?;
    Some(agent["id"].as_str()?.to_owned())
}

fn alerts(world: &World) -> usize {
    world.json(&["alert", "list"]).as_array().map_or(0, Vec::len)
}
