//! The logs of firmware and kernel in an attestation, and what a server keeps of them.

use std::fs;

use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::node::{
    Conversation, Log, LogPart, NodeError, NodeProof as _, Proved, QuotedPcrs, Step, TpmRecord, TpmRequest, attestor,
};
use sekisho_tpm::TpmProof;
use sekisho_types::SpiffeId;

use super::attestor::{Exchange, session};
use super::measured::{Measured, event, spec_id};

/// A server and a node that has attested.
struct Attested {
    machine: Measured,
    exchange: Exchange,
}

impl Attested {
    /// A machine that measured a firmware and two files, and attested.
    fn new() -> Option<Self> {
        let machine = Measured::new()?;
        machine.boot_event(4, b"a boot loader");
        machine.measure(1, "/sbin/init");
        machine.measure(2, "/bin/sh");
        let (exchange, _) = Exchange::new(&machine.software);
        let attested = Self { machine, exchange };
        attested.exchange.attest(&attested.proof()).1.unwrap();
        Some(attested)
    }

    /// A software TPM serves one connection at a time, so each attestation has its own.
    fn proof(&self) -> TpmProof {
        proof_of(&self.machine)
    }

    /// The server asks for a quote, and waits for it.
    fn asked(&self) -> (Vec<u8>, Box<dyn Conversation>) {
        let id = SpiffeId::parse("spiffe://td.example/spire/agent/danger_software_tpm/x").unwrap();
        let given = self.exchange.given(session(1, 1));
        match attestor("danger_software_tpm").unwrap().again(&id, &given).unwrap().unwrap() {
            Step::Challenge(challenge, conversation) => (challenge, conversation),
            _ => panic!("it is asked for a quote"),
        }
    }

    /// The server asks again: from where it asked for logs, and why it refuses, if it does.
    fn again(&self) -> (Vec<(Log, u64)>, Option<String>) {
        let (asked, outcome) = self.exchange.attest_again(&self.proof());
        assert!(matches!(asked[0], TpmRequest::Quote { .. }));
        (logs(&asked), outcome.err().map(heard))
    }
}

fn proof_of(machine: &Measured) -> TpmProof {
    let (_, proof) = Exchange::new(&machine.software);
    proof.with_logs(machine.logs())
}

fn logs(asked: &[TpmRequest]) -> Vec<(Log, u64)> {
    let log = |request: &TpmRequest| match request {
        TpmRequest::Log { log, from } => Some((*log, *from)),
        _ => None,
    };
    asked.iter().filter_map(log).collect()
}

/// Why the state of a node is refused that proved which one it is.
fn heard(error: NodeError) -> String {
    assert!(matches!(error, NodeError::Denied { .. }), "{error}");
    error.to_string()
}

/// Why a first attestation is refused, after `tamper`.
fn first(tamper: impl Fn(&Measured)) -> Option<Option<String>> {
    let machine = Measured::new()?;
    tamper(&machine);
    let (exchange, _) = Exchange::new(&machine.software);
    Some(exchange.attest(&proof_of(&machine)).1.err().map(heard))
}

#[test]
fn a_log_goes_on_from_the_servers_offset() {
    let Some(node) = Attested::new() else { return };
    let length = fs::metadata(node.machine.ima_log()).unwrap().len();
    let kept = &node.exchange.kept()["ima"];
    assert_eq!((kept["entries"].as_u64(), kept["bytes"].as_u64()), (Some(2), Some(length)));
    assert_eq!(node.again(), (vec![], None), "nothing was measured since");
    node.machine.measure(3, "/usr/bin/new");
    assert_eq!(node.again(), (vec![(Log::Ima, length)], None));
    assert_eq!(node.exchange.kept()["ima"]["entries"], 3);
    // A whole attestation shows all again, so that its record is whole.
    let (asked, outcome) = node.exchange.attest(&node.proof());
    assert_eq!((logs(&asked), outcome.is_ok()), (vec![(Log::Event, 0), (Log::Ima, 0)], true));
    assert_eq!(node.exchange.kept()["ima"]["entries"], 3);
}

#[test]
fn entries_after_the_quote_are_not_kept() {
    let Some(node) = Attested::new() else { return };
    node.machine.append(9, "/bin/later");
    assert_eq!(node.again(), (vec![], None));
    assert_eq!(node.exchange.kept()["ima"]["entries"], 2);
}

#[test]
fn a_log_without_a_measured_file_is_refused() {
    let Some(node) = Attested::new() else { return };
    let whole = fs::read(node.machine.ima_log()).unwrap();
    node.machine.measure(3, "/tmp/implant");
    fs::write(node.machine.ima_log(), whole).unwrap();
    let (_, refused) = node.again();
    assert_eq!(refused.as_deref(), Some("no part of the IMA log gives PCR 10 its quoted value"));
    assert_eq!(node.exchange.kept()["ima"]["entries"], 2, "the state of before stays");
}

/// All that was measured is in the log, in another order.
#[test]
fn a_reordered_log_is_refused() {
    let Some(machine) = Measured::new() else { return };
    let mut entries = vec![];
    for (digest, path) in [(1, "/sbin/init"), (2, "/bin/sh"), (3, "/usr/bin/new")] {
        let before = fs::read(machine.ima_log()).unwrap_or_default().len();
        machine.measure(digest, path);
        entries.push(fs::read(machine.ima_log()).unwrap()[before..].to_vec());
    }
    let (exchange, _) = Exchange::new(&machine.software);
    let judge = |exchange: &Exchange| exchange.attest(&proof_of(&machine)).1.err().map(heard);
    for order in [[1, 0, 2], [0, 2, 1], [2, 1, 0]] {
        fs::write(machine.ima_log(), order.map(|number: usize| entries[number].clone()).concat()).unwrap();
        let refused = judge(&exchange);
        assert_eq!(refused.as_deref(), Some("no part of the IMA log gives PCR 10 its quoted value"), "{order:?}");
    }
    fs::write(machine.ima_log(), entries.concat()).unwrap();
    assert_eq!(judge(&exchange), None);
    // Events of the firmware likewise.
    let (fresh, _) = Exchange::new(&machine.software);
    let events = ["a loader", "a kernel"].map(|what| {
        machine.boot_event(4, what.as_bytes());
        event(4, 8, &Sha256.digest([what.as_bytes()]), what.as_bytes())
    });
    fs::write(machine.event_log(), [spec_id(), events[1].clone(), events[0].clone()].concat()).unwrap();
    assert!(judge(&fresh).unwrap().contains("does not give PCR 4"));
    fs::write(machine.event_log(), [spec_id(), events.concat()].concat()).unwrap();
    assert_eq!(judge(&fresh), None);
}

/// Cut between two entries, inside one, and before all.
#[test]
fn a_truncated_log_is_refused() {
    let Some(machine) = Measured::new() else { return };
    machine.boot_event(4, b"a boot loader");
    machine.measure(1, "/sbin/init");
    let first = fs::read(machine.ima_log()).unwrap().len();
    machine.measure(2, "/bin/sh");
    let (ima, events) = (fs::read(machine.ima_log()).unwrap(), fs::read(machine.event_log()).unwrap());
    let (exchange, _) = Exchange::new(&machine.software);
    let refused = || exchange.attest(&proof_of(&machine)).1.err().map(heard);
    for at in [0, first - 1, first, first + 3, ima.len() - 1] {
        fs::write(machine.ima_log(), &ima[..at]).unwrap();
        assert!(refused().is_some(), "{at} bytes of the IMA log");
    }
    fs::write(machine.ima_log(), &ima).unwrap();
    for at in [0, spec_id().len(), events.len() - 1] {
        fs::write(machine.event_log(), &events[..at]).unwrap();
        assert!(refused().is_some(), "{at} bytes of the event log");
    }
    fs::write(machine.event_log(), &events).unwrap();
    assert_eq!(refused(), None);
}

/// A log that was read before the quote lacks what the reading itself had measured.
#[test]
fn a_log_before_the_quote_is_refused() {
    let Some(node) = Attested::new() else { return };
    let given = || node.exchange.given(session(1, 1));
    let (question, conversation) = node.asked();
    node.machine.measure(3, "/bin/reader");
    let before = fs::read(node.machine.ima_log()).unwrap();
    node.machine.measure(4, "/bin/agent");
    let quote = node.proof().answer(&question, &session(1, 1)).unwrap();
    let Ok(Step::Challenge(question, conversation)) = conversation.go_on(&quote, &given()) else {
        panic!("it is asked for the log");
    };
    let Some(TpmRequest::Log { log: Log::Ima, from }) = TpmRequest::decode(&question) else { panic!("{question:?}") };
    let part = LogPart::Last(before[usize::try_from(from).unwrap()..].to_vec());
    let refused = conversation.go_on(&part.encode(), &given()).err().map(heard);
    assert_eq!(refused.as_deref(), Some("no part of the IMA log gives PCR 10 its quoted value"));
}

/// The server asks from its own offset on. A node that sends something else is refused.
#[test]
fn keylime_1077_a_node_states_no_offset() {
    let Some(node) = Attested::new() else { return };
    node.machine.measure(3, "/usr/bin/new");
    let given = || node.exchange.given(session(1, 1));
    let (question, conversation) = node.asked();
    let quote = node.proof().answer(&question, &session(1, 1)).unwrap();
    let Ok(Step::Challenge(question, conversation)) = conversation.go_on(&quote, &given()) else {
        panic!("it is asked for the log");
    };
    assert!(matches!(TpmRequest::decode(&question), Some(TpmRequest::Log { log: Log::Ima, from }) if from > 0));
    let whole = LogPart::Last(fs::read(node.machine.ima_log()).unwrap());
    let refused = conversation.go_on(&whole.encode(), &given()).err().map(heard);
    assert_eq!(refused.as_deref(), Some("no part of the IMA log gives PCR 10 its quoted value"));
}

/// What cannot be verified is denied, and not only noted.
#[test]
fn cve_2023_3674_an_invalid_quote_is_denied() {
    let Some(node) = Attested::new() else { return };
    let given = || node.exchange.given(session(1, 1));
    let changed = |change: fn(&mut QuotedPcrs)| {
        let (question, conversation) = node.asked();
        let answer = node.proof().answer(&question, &session(1, 1)).unwrap();
        let mut quoted = QuotedPcrs::decode(&answer).unwrap();
        change(&mut quoted);
        conversation.go_on(&quoted.encode(), &given()).err().map(heard)
    };
    assert_eq!(changed(|_| {}), None);
    assert!(changed(|quoted| quoted.signature.clear()).is_some());
    assert!(changed(|quoted| quoted.quote.clear()).is_some());
    assert!(changed(|quoted| quoted.pcrs.clear()).is_some());
    assert!(changed(|quoted| *quoted.signature.last_mut().unwrap() ^= 1).unwrap().contains("signature"));
    assert!(changed(|quoted| *quoted.quote.last_mut().unwrap() ^= 1).unwrap().contains("signature"));
    assert!(changed(|quoted| drop(quoted.pcrs.insert(4, vec![1; 32]))).is_some());
    // An answer of another form excuses nothing.
    let (_, conversation) = node.asked();
    assert!(conversation.go_on(b"{}", &given()).err().map(heard).is_some());
}

#[test]
fn measured_files_need_a_log() {
    let Some(refused) = first(|machine| machine.extend(10, &[7; 32])) else { return };
    assert!(refused.unwrap().contains("shows no IMA log"));
}

#[test]
fn violations_and_unknown_templates_are_refused() {
    let Some(violated) = first(|machine| machine.violate("/var/log/x")) else { return };
    assert!(violated.unwrap().contains("`/var/log/x`"));
    let odd = first(Measured::measure_oddly).unwrap();
    assert!(odd.unwrap().contains("template is not known"));
    let Some(node) = Attested::new() else { return };
    node.machine.violate("/etc/shadow");
    node.machine.measure(4, "/bin/after");
    assert!(node.again().1.unwrap().contains("`/etc/shadow`"));
}

#[test]
fn a_long_log_comes_in_parts() {
    let Some(machine) = Measured::new() else { return };
    let name = "x".repeat(15_000);
    for number in 0..200 {
        machine.measure(1, &format!("/{number}/{name}"));
    }
    let (exchange, _) = Exchange::new(&machine.software);
    let (asked, outcome) = exchange.attest(&proof_of(&machine));
    outcome.unwrap();
    let from: Vec<u64> = logs(&asked).into_iter().filter(|(log, _)| *log == Log::Ima).map(|(_, from)| from).collect();
    assert!(from.len() == 3 && from.is_sorted() && from[0] == 0, "{from:?}");
    assert_eq!(exchange.kept()["ima"]["entries"], 200);
}

#[test]
fn a_log_too_long_to_keep_goes_on() {
    let Some(machine) = Measured::new() else { return };
    let name = "x".repeat(15_000);
    for number in 0..300 {
        machine.measure(1, &format!("/{number}/{name}"));
    }
    let (exchange, _) = Exchange::new(&machine.software);
    let record = |outcome: Result<Proved, NodeError>| {
        let file = outcome.unwrap().shown().unwrap().file.clone();
        TpmRecord::decode(&file).unwrap()
    };
    let first = record(exchange.attest(&proof_of(&machine)).1);
    assert_eq!((first.ima_log, first.ima_from), (None, None));
    machine.measure(2, "/bin/sh");
    let (asked, outcome) = exchange.attest(&proof_of(&machine));
    let length = fs::metadata(machine.ima_log()).unwrap().len();
    let [(Log::Event, 0), (Log::Ima, from)] = logs(&asked)[..] else { panic!("{asked:?}") };
    let second = record(outcome);
    let part = second.ima_log.unwrap();
    assert_eq!((second.ima_from.unwrap().entries, from + part.len() as u64), (300, length));
}

#[test]
fn an_event_log_is_never_left_out() {
    // This TPM was never extended: its PCRs are what an empty log gives, and no other.
    for (log, refused) in [
        (spec_id(), None),
        ([spec_id(), event(0, 3, &[0; 32], b"nothing")].concat(), None),
        ([spec_id(), event(0, 3, &[0; 32], &vec![5; 2 << 20])].concat(), None),
        ([spec_id(), event(0, 8, &[9; 32], b"a firmware")].concat(), Some("does not give PCR 0")),
        ([spec_id(), vec![1]].concat(), Some("malformed")),
        ([spec_id(), event(0, 3, &[0; 32], &vec![5; 5 << 20])].concat(), Some("longer than 4 MiB")),
    ] {
        let tamper = |machine: &Measured| fs::write(machine.event_log(), &log).unwrap();
        let Some(found) = first(tamper) else { return };
        assert!(found.as_deref().unwrap_or_default().contains(refused.unwrap_or_default()), "{found:?}");
        assert_eq!(found.is_none(), refused.is_none(), "{found:?}");
    }
    let Some(mut node) = Attested::new() else { return };
    node.machine.reboot();
    assert!(node.again().1.unwrap().contains("shows none now"));
}

#[test]
fn a_boot_pcr_changes_by_a_restart_only() {
    let Some(node) = Attested::new() else { return };
    node.machine.extend(4, &[7; 32]);
    assert!(node.again().1.unwrap().contains("PCR 4 changed"));
}

/// A server that has removed the node, and keeps what was remembered of its device.
#[test]
fn a_removed_node_is_not_excused() {
    let Some(mut node) = Attested::new() else { return };
    let before = node.exchange.kept().to_string();
    let returns = |machine: &Measured| {
        let (fresh, _) = Exchange::new(&machine.software);
        let proved = fresh.attest(&proof_of(machine)).1.map_err(heard)?;
        attestor("danger_software_tpm").unwrap().follows(&before, &proved).map_err(heard)
    };
    assert_eq!(returns(&node.machine), Ok(()));
    // What cannot be read never counts as nothing.
    let rules = attestor("danger_software_tpm").unwrap();
    let proved = node.exchange.attest(&node.proof()).1.unwrap();
    assert!(rules.reads(&before) && !rules.reads("{}"));
    assert!(matches!(rules.follows("{}", &proved), Err(NodeError::Forgotten)));
    // A log that explains what was measured since.
    node.machine.boot_event(4, b"an implant");
    assert!(returns(&node.machine).unwrap_err().contains("PCR 4 changed"));
    fs::remove_file(node.machine.event_log()).unwrap();
    assert!(returns(&node.machine).unwrap_err().contains("PCR 4 is not zero"));
    // Only a restart excuses it, and not from showing a log.
    node.machine.reboot();
    assert!(returns(&node.machine).unwrap_err().contains("shows none now"));
    node.machine.boot_event(4, b"a boot loader");
    assert_eq!(returns(&node.machine), Ok(()));
}

#[test]
fn a_restart_forces_a_full_check() {
    let Some(mut node) = Attested::new() else { return };
    node.machine.reboot();
    node.machine.boot_event(4, b"another boot loader");
    node.machine.measure(5, "/sbin/init");
    let before = node.exchange.kept();
    assert_eq!(node.again(), (vec![(Log::Event, 0), (Log::Ima, 0)], None));
    let kept = node.exchange.kept();
    assert_eq!((&kept["ima"]["entries"], &kept["has_event_log"]), (&1.into(), &true.into()));
    assert_ne!(before["resets"], kept["resets"]);
    // What a full check finds is refused as at the first time.
    node.machine.reboot();
    node.machine.boot_event(4, b"a boot loader");
    node.machine.extend(4, &[8; 32]);
    assert!(node.again().1.unwrap().contains("does not give PCR 4"));
}

#[test]
fn cve_2026_6420_a_quote_answers_one_question() {
    let Some(node) = Attested::new() else { return };
    let ask = || node.asked();
    let ((first, _), (second, conversation)) = (ask(), ask());
    assert_ne!(first, second);
    let replayed = node.proof().answer(&first, &session(1, 1)).unwrap();
    let refused = conversation.go_on(&replayed, &node.exchange.given(session(1, 1))).err().map(heard);
    assert!(refused.unwrap().contains("another challenge"));
    // Nor is it good on another connection, or for another key.
    for elsewhere in [session(2, 1), session(1, 2)] {
        let (challenge, conversation) = ask();
        let answer = node.proof().answer(&challenge, &elsewhere).unwrap();
        let refused = conversation.go_on(&answer, &node.exchange.given(session(1, 1))).err().map(heard);
        assert!(refused.unwrap().contains("another challenge"));
    }
}
