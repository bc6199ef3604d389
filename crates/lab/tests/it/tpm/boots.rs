//! Which boots and files a server admits, by its boot policy.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::boot::BootPolicy;
use sekisho_evidence::node::{Log, NodeError, Proved, TpmRequest};
use sekisho_types::{EvidenceClass, UnixTime};
use serde_json::{Value, json};

use super::attestor::Exchange;
use super::measured::Measured;
use super::{ISSUER, ROOT, now};
use crate::within::{World, eventually};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn digest(data: &[u8]) -> String {
    hex(&Sha256.digest([data]))
}

/// The image that `kernel` and `command_line` are, as a policy lists it.
pub(super) fn image(name: &str, kernel: &str, command_line: &str) -> Value {
    let event = |pcr: u8, data: &str| json!({"pcr": pcr, "sha256": digest(data.as_bytes()), "what": data});
    json!({"name": name, "events": [event(4, kernel), event(11, command_line)], "empty_pcrs": [12]})
}

pub(super) fn policy(images: &[Value]) -> String {
    json!({ "images": images }).to_string()
}

/// A machine that booted this image, and a server that does not know it yet.
pub(super) fn booted(kernel: &str, command_line: &str) -> Option<(Measured, Exchange)> {
    let machine = Measured::new()?;
    boot(&machine, kernel, command_line);
    let (exchange, _) = Exchange::new(&machine.software);
    Some((machine, exchange))
}

fn boot(machine: &Measured, kernel: &str, command_line: &str) {
    machine.boot_event(4, kernel.as_bytes());
    machine.boot_event(11, command_line.as_bytes());
}

fn with(exchange: &mut Exchange, images: &[Value]) {
    exchange.boot_policy = Some(Arc::new(BootPolicy::parse(policy(images).as_bytes()).unwrap()));
}

pub(super) fn attest(machine: &Measured, exchange: &Exchange) -> Result<Proved, NodeError> {
    let (_, proof) = Exchange::new(&machine.software);
    exchange.attest(&proof.with_logs(machine.logs())).1
}

/// From where the server asked for logs, and why it refuses.
fn again(machine: &Measured, exchange: &Exchange) -> (Vec<(Log, u64)>, Option<String>) {
    let (_, proof) = Exchange::new(&machine.software);
    let (asked, outcome) = exchange.attest_again(&proof.with_logs(machine.logs()));
    let log = |request: &TpmRequest| match request {
        TpmRequest::Log { log, from } => Some((*log, *from)),
        _ => None,
    };
    (asked.iter().filter_map(log).collect(), outcome.err().map(|error| error.to_string()))
}

/// Why a node is refused, and what it hears of it.
pub(super) fn denied(outcome: Result<Proved, NodeError>) -> (String, String) {
    match outcome.map(drop) {
        Err(NodeError::Denied(denied)) => (denied.reason.to_string(), denied.heard),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listed_image_is_a_selector() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet") else { return };
    with(&mut exchange, &[image("web-6", "kernel 6", "quiet"), image("web-7", "kernel 7", "quiet")]);
    let proved = attest(&machine, &exchange).unwrap();
    let mut selectors = proved.evidence().selectors(EvidenceClass::Node).map(ToString::to_string);
    assert!(selectors.any(|selector| selector == "danger_software_tpm:boot_image:web-7"));
    assert_eq!(exchange.kept()["boot_image"], "web-7");
    assert_eq!(again(&machine, &exchange), (vec![], None), "nothing changed");
}

#[test]
fn another_boot_is_refused_without_a_hint() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet init=/bin/sh") else { return };
    with(&mut exchange, &[image("web-7", "kernel 7", "quiet")]);
    let (reason, heard) = denied(attest(&machine, &exchange));
    let (measured, expected) = (digest(b"quiet init=/bin/sh"), digest(b"quiet"));
    for part in ["event 0 of PCR 11", &measured, "image `web-7` expects", &expected] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(heard.contains("boot policy") && !heard.contains("web-7"), "{heard}");
    assert!(!heard.contains(&expected) && !heard.contains(&measured), "{heard}");
}

#[test]
fn a_policy_needs_an_event_log() {
    let Some(machine) = Measured::new() else { return };
    let (mut exchange, _) = Exchange::new(&machine.software);
    // Nothing was measured, so there is nothing to explain.
    attest(&machine, &exchange).unwrap();
    // A server that is started with a policy asks again.
    with(&mut exchange, &[image("web-7", "kernel 7", "quiet")]);
    let (asked, refused) = again(&machine, &exchange);
    assert_eq!(asked, [(Log::Event, 0)]);
    assert!(refused.unwrap().contains("needs the firmware's event log"));
    assert!(denied(attest(&machine, &exchange)).0.contains("needs the firmware's event log"));
}

#[test]
fn a_passed_window_refuses_a_running_node() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet") else { return };
    machine.measure(1, "/sbin/init");
    let until = now().plus_seconds(3600);
    let mut old = image("web-7", "kernel 7", "quiet");
    old["not_after"] = until.to_string().into();
    with(&mut exchange, &[old, image("web-8", "kernel 8", "quiet")]);
    attest(&machine, &exchange).unwrap();
    exchange.now = Some(until.plus_seconds(-1));
    assert_eq!(again(&machine, &exchange), (vec![], None));
    exchange.now = UnixTime::parse(&until.to_string());
    let (asked, refused) = again(&machine, &exchange);
    assert_eq!(asked, [(Log::Event, 0)]);
    assert!(refused.unwrap().contains(&format!("image `web-7` was admitted until {until}")));
    // A whole attestation is refused as well, as long as the machine does not boot the other image.
    assert!(denied(attest(&machine, &exchange)).0.contains("was admitted until"));
}

#[test]
fn another_policy_judges_from_the_beginning() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet") else { return };
    machine.measure(1, "/sbin/init");
    attest(&machine, &exchange).unwrap();
    let mut strict = image("web-7", "kernel 7", "quiet");
    strict["ima"] = json!([hex(&[1; 32])]);
    with(&mut exchange, &[strict.clone()]);
    assert_eq!(again(&machine, &exchange), (vec![(Log::Event, 0), (Log::Ima, 0)], None));
    assert_eq!(again(&machine, &exchange), (vec![], None));
    // What was measured long ago is judged by the new list.
    strict["ima"] = json!([]);
    with(&mut exchange, &[strict]);
    let refused = again(&machine, &exchange).1.unwrap();
    assert!(refused.contains("`/sbin/init`") && refused.contains(&hex(&[1; 32])), "{refused}");
}

#[test]
fn phases_of_the_start_may_follow() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet") else { return };
    machine.measure(1, "/sbin/init");
    with(&mut exchange, &[image("web-7", "kernel 7", "quiet")]);
    attest(&machine, &exchange).unwrap();
    machine.extend(11, &Sha256.digest([b"enter-initrd".as_slice()]));
    assert_eq!(again(&machine, &exchange), (vec![(Log::Event, 0)], None), "the IMA log goes on");
    machine.extend(11, &Sha256.digest([b"an implant".as_slice()]));
    let refused = again(&machine, &exchange).1.unwrap();
    assert!(refused.contains("PCR 11 its quoted value"), "{refused}");
}

#[test]
fn an_unlisted_file_is_refused_by_its_path() {
    let Some((machine, mut exchange)) = booted("kernel 7", "quiet") else { return };
    // PCRs 0 to 9 of this machine.
    let mut four = vec![0; 32];
    Sha256.extend(&mut four, &Sha256.digest([b"kernel 7".as_slice()]));
    let values: Vec<Vec<u8>> = (0..10).map(|pcr| if pcr == 4 { four.clone() } else { vec![0; 32] }).collect();
    let aggregate = Sha256.digest(values.iter().map(Vec::as_slice));
    machine.extend(10, &machine.append_file(&aggregate, "boot_aggregate"));
    machine.measure(1, "/init");
    let mut strict = image("web-7", "kernel 7", "quiet");
    (strict["ima"], strict["ima_also"]) = (json!([hex(&[1; 32])]), json!([hex(&[2; 32])]));
    with(&mut exchange, &[strict]);
    attest(&machine, &exchange).unwrap();
    machine.measure(2, "/usr/bin/operator");
    assert_eq!(again(&machine, &exchange).1, None);
    machine.measure(3, "/tmp/implant");
    let (_, proof) = Exchange::new(&machine.software);
    let (reason, heard) = denied(exchange.attest_again(&proof.with_logs(machine.logs())).1);
    assert!(reason.contains("`/tmp/implant`") && reason.contains(&hex(&[3; 32])), "{reason}");
    assert!(!heard.contains("implant") && heard.contains("a file that this machine used"), "{heard}");
}

/// A server with a boot policy in a file, and what its agent hears.
#[tokio::test(start_paused = true)]
async fn a_server_admits_the_boots_of_its_policy() {
    let Some(mut machine) = Measured::new() else { return };
    boot(&machine, "kernel 7", "quiet");
    let root = machine.software.authority(ROOT);
    let file = machine.software.folder.path().join("boot.json");
    fs::write(&file, policy(&[image("web-7", "kernel 7", "quiet")])).unwrap();
    let options = ["--danger-software-tpm-ca", &root, "--attest-every", "10s", "--boot-policy", file.to_str().unwrap()];
    let mut world = World::with_server(&options).await;
    let (socket, logs) = (machine.software.socket().display().to_string(), machine.logs().display().to_string());
    let proof = ["--tpm", &socket, "--tpm-chain", &machine.software.authority(ISSUER), "--tpm-logs", &logs];
    let agent = world.try_agent("n", &proof).await.unwrap();
    let agents = world.json(&["agents", "list"]).await.to_string();
    assert!(agents.contains("danger_software_tpm:boot_image:web-7"), "{agents}");
    // The machine is started with another command line.
    machine.reboot();
    boot(&machine, "kernel 7", "quiet init=/bin/sh");
    let denied = eventually("it is denied", async || world.leaves("attestation-denied").await.pop()).await;
    assert_eq!(denied["attestor"], "danger_software_tpm");
    let alerts = world.json(&["alert", "list"]).await.to_string();
    assert!(alerts.contains(&digest(b"quiet")) && alerts.contains("expects"), "{alerts}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.json(&["agents", "list"]).await, json!([]));
    agent.end().await;
    let refused = world.try_agent("m", &proof).await.err().unwrap().to_string();
    assert!(refused.contains("boot policy") && !refused.contains(&digest(b"quiet")), "{refused}");

    // A file that is broken keeps the server from starting: it never means that all boots are admitted.
    world.stop_server().await;
    fs::write(&file, r#"{"images": [], "image": []}"#).unwrap();
    let refused = world.try_server().await.err().unwrap();
    let place = file.display().to_string();
    assert!(refused.contains(&place) && refused.contains("boot policy.image: unknown member"), "{refused}");
    fs::remove_file(&file).unwrap();
    assert!(world.try_server().await.err().unwrap().contains("sekisho boot check"));
}
