//! A node that attested shows its state again and again, to a real server by a real agent.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::measured::Measured;
use super::{ISSUER, ROOT};
use crate::within::{Role, World, eventually};

/// A server that asks every ten seconds, and an agent whose machine measures.
struct Site {
    world: World,
    machine: Measured,
    /// The agent by its TPM.
    id: String,
    _agent: Role,
}

impl Site {
    async fn new() -> Option<Self> {
        let machine = Measured::new()?;
        machine.boot_event(4, b"a boot loader");
        machine.measure(1, "/sbin/init");
        let software = &machine.software;
        let root = software.authority(ROOT);
        let mut world = World::with(&["--danger-software-tpm-ca", &root, "--attest-every", "10s"]).await;
        let (socket, logs) = (software.socket().display().to_string(), machine.logs().display().to_string());
        let proof = ["--tpm", &socket, "--tpm-chain", &software.authority(ISSUER), "--tpm-logs", &logs];
        let agent = world.try_agent("n", &proof).await.unwrap();
        let id = tpm_agents(&world).await[0].clone();
        (world.agent_id, world.agent_data) = (id.clone(), "n".to_owned());
        Some(Self { world, machine, id, _agent: agent })
    }

    async fn denials(&self) -> Vec<Value> {
        self.world.leaves("attestation-denied").await
    }

    /// Exit code and answer of an operator who asks for the state.
    async fn ask(&self) -> (i32, String) {
        let (code, out, err) = self.world.sekisho(&["agent", "attest", &self.id]).await;
        (code, out + &err)
    }

    /// The same, when the agent has opened its stream.
    async fn asked(&self) -> (i32, String) {
        eventually("the agent shows its state", async || Some(self.ask().await).filter(|(code, _)| *code != 1)).await
    }

    /// A file is measured, and the log does not show it.
    fn implant(&self) {
        let log = fs::read(self.machine.ima_log()).unwrap();
        self.machine.measure(7, "/tmp/implant");
        fs::write(self.machine.ima_log(), log).unwrap();
    }
}

/// The agents that attested by a TPM.
async fn tpm_agents(world: &World) -> Vec<String> {
    let agents = world.json(&["agents", "list"]).await;
    let by_tpm = agents.as_array().unwrap().iter().filter(|agent| agent["attestation_type"] == "danger_software_tpm");
    by_tpm.map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tampered_node_is_withdrawn() {
    let Some(site) = Site::new().await else { return };
    let selectors = World::own_selectors();
    site.world.register("/shop", &selectors).await;
    let fetched = site.world.json(&["svid", "fetch"]).await;
    assert!(fetched.to_string().contains("/shop"), "{fetched}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((site.denials().await.len(), tpm_agents(&site.world).await.len()), (0, 1), "{}", site.world.logged());

    site.implant();
    eventually("it is denied", async || (!site.denials().await.is_empty()).then_some(())).await;
    assert!(tpm_agents(&site.world).await.is_empty(), "it is no longer attested");
    let denied = &site.denials().await[0];
    assert_eq!(denied["attestor"], "danger_software_tpm");
    assert!(denied["good_at"].is_number(), "{denied}");
    site.world.log_says("no part of the IMA log gives PCR 10 its quoted value").await;
    let revocations = site.world.json(&["revocation", "list"]).await.to_string();
    assert!(revocations.contains(&site.id), "{revocations}");
    // It asks to be let in again, by its TPM alone, and is refused as long as its machine is not started anew.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(tpm_agents(&site.world).await.is_empty());
    assert!(site.world.logged().contains("attestation denied"), "{}", site.world.logged());
    let joined = site.world.leaves("attestation").await.iter().filter(|leaf| leaf["attestor"] == "join_token").count();
    assert_eq!(joined, 1, "the world's other agent");
}

#[tokio::test(start_paused = true)]
async fn an_operator_asks_for_a_state() {
    let Some(site) = Site::new().await else { return };
    let (code, heard) = site.asked().await;
    assert!(code == 0 && heard.contains("shows the state"), "{heard}");
    site.machine.measure(2, "/bin/sh");
    assert_eq!(site.ask().await.0, 0);
    site.machine.violate("/etc/shadow");
    let (code, heard) = site.ask().await;
    assert!(code == 2 && heard.contains("`/etc/shadow`"), "{code} {heard}");
    assert_eq!(site.denials().await.len(), 1);
    assert_ne!(site.ask().await.0, 0, "no such agent is attested");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_machine_is_checked_whole() {
    let Some(mut site) = Site::new().await else { return };
    assert_eq!(site.asked().await.0, 0);
    site.machine.reboot();
    site.machine.boot_event(4, b"another boot loader");
    site.machine.measure(3, "/sbin/init");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((site.denials().await.len(), site.asked().await.0), (0, 0), "{}", site.world.logged());
    let agents = site.world.json(&["agents", "list"]).await.to_string();
    let pcr = sekisho_evidence::HashAlgorithm::Sha256.digest([b"another boot loader".as_slice()]);
    let mut value = vec![0; 32];
    sekisho_evidence::HashAlgorithm::Sha256.extend(&mut value, &pcr);
    let selector =
        format!("danger_software_tpm:pcr:4:{}", value.iter().map(|b| format!("{b:02x}")).collect::<String>());
    assert!(agents.contains(&selector), "its selectors are of the new boot: {agents}");
    // A boot without its log is refused, as the machine had one.
    site.machine.reboot();
    eventually("it is denied", async || (!site.denials().await.is_empty()).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_gets_no_identity() {
    let Some(site) = Site::new().await else { return };
    let fetch = async || {
        let (code, out, err) = site.world.sekisho(&["svid", "fetch"]).await;
        (code, out + &err)
    };
    assert_eq!(site.asked().await.0, 0);
    // Its agent cannot read the logs, so it says nothing.
    let hidden = site.machine.logs().join("ima/hidden");
    fs::rename(site.machine.ima_log(), &hidden).unwrap();
    fs::create_dir(site.machine.ima_log()).unwrap();
    site.machine.extend(10, &[5; 32]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(site.denials().await.is_empty(), "silence proves nothing");
    site.world.register("/late", &World::own_selectors()).await;
    let (code, heard) = fetch().await;
    assert!(code != 0, "{heard}");
}

/// On a running system: what an attacker would send is refused and seen, and the node goes on.
#[tokio::test(start_paused = true)]
async fn drills_are_refused_and_withdraw_no_node() {
    let Some(site) = Site::new().await else { return };
    assert_eq!(site.asked().await.0, 0);
    for (drill, why) in [("replay-quote", "another challenge"), ("swap-tpm", "signature")] {
        let done = site.world.json(&["drill", drill]).await;
        assert_eq!((&done["drill"], &done["agent_id"]), (&drill.into(), &site.id.as_str().into()), "{done}");
        assert!(done["reason"].as_str().unwrap().contains(why), "{done}");
        assert!(done["refused_after_ms"].is_number() && done["alerted_after_ms"].is_number(), "{done}");
        let alerts = site.world.json(&["alert", "list"]).await;
        let alert = alerts.as_array().unwrap().iter().find(|alert| alert["id"] == done["alert"]).unwrap();
        assert_eq!((&alert["severity"], &alert["kind"]), (&"warning".into(), &format!("drill {drill}").into()));
        let is_ours = |leaf: &Value| leaf["id"] == done["alert"] && leaf["drill"] == drill;
        eventually("its leaf", async || site.world.leaves("drill").await.iter().any(is_ours).then_some(())).await;
        let shown = site.world.text(&["drill", drill, &site.id]).await;
        assert!(shown.contains("stays attested") && shown.contains(why), "{shown}");
        // It shows its own state as before.
        assert_eq!(site.ask().await.0, 0);
    }
    assert_eq!((site.denials().await.len(), tpm_agents(&site.world).await), (0, vec![site.id.clone()]));
    assert_eq!(site.world.leaves("attestation").await.len(), 2, "both agents attested once");
    // A node whose own state is refused is withdrawn for that, and the drill is not run.
    site.implant();
    let (code, _, heard) = site.world.sekisho(&["drill", "replay-quote"]).await;
    assert!(code == 1 && heard.contains("gave no proof of its state"), "{code} {heard}");
    eventually("it is withdrawn", async || (!site.denials().await.is_empty()).then_some(())).await;
    let (code, _, heard) = site.world.sekisho(&["drill", "swap-tpm"]).await;
    assert!(code == 1 && heard.contains("no agent is attested by a TPM"), "{code} {heard}");
}

#[tokio::test(start_paused = true)]
async fn a_drill_says_that_it_cannot_run() {
    let world = World::start().await;
    for drill in ["replay-quote", "swap-tpm"] {
        let (code, _, heard) = world.sekisho(&["drill", drill]).await;
        assert!(code == 1 && heard.contains("this drill cannot run"), "{code} {heard}");
        let (code, _, heard) = world.sekisho(&["drill", drill, &world.agent_id]).await;
        assert!(code == 1 && heard.contains("attested by join_token"), "{code} {heard}");
    }
    assert_eq!(world.json(&["alert", "list"]).await, serde_json::json!([]));
}
