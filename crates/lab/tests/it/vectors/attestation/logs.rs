use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::boot::EventLog;
use sekisho_evidence::ima::{ImaLog, Replayed};
use sekisho_evidence::tpm::Public;
use serde_json::{Value, json};

use super::tpm::values_of;
use super::{Case, each_case, facts};

#[test]
fn event_logs_replay_as_the_manifest_says() {
    each_case("eventlog", |case| {
        let dump = case.json("evidence");
        let bytes = match &dump {
            Some(dump) => decoded(&dump["Log"]["Raw"]),
            None => case.file("event_log").unwrap(),
        };
        let log = EventLog::parse(&bytes).unwrap();
        let mut wrong = vec![];
        if let Some(pcrs) = case.json("pcrs") {
            let replays = replays(&log, &pcrs);
            if replays != case.is("appraisal", "accept") {
                wrong.push(format!("replays: {replays}"));
            }
        }
        let mut found = facts::of_event_log(&log);
        if let Some(dump) = dump {
            let public = Public::parse(&decoded(&dump["AK"]["Public"])).unwrap();
            found.insert("ak_attributes", json!(format!("{:#010x}", public.attributes.bits())));
        }
        // The log does not hold the machine's value. The manifest has it to show that both differ.
        if let Some(machine) = case.value["facts"].get("pcr5_sha1_machine") {
            assert_ne!(Some(machine), found.get("pcr5_sha1_log"));
            found.insert("pcr5_sha1_machine", machine.clone());
        }
        wrong.extend(case.other_facts(&found));
        wrong
    });
}

fn decoded(text: &Value) -> Vec<u8> {
    BASE64.decode(text.as_str().unwrap()).unwrap()
}

/// Whether the log gives every value of every bank.
fn replays(log: &EventLog, pcrs: &Value) -> bool {
    pcrs.as_object().unwrap().iter().all(|(bank, values)| {
        let bank = HashAlgorithm::of_name(bank).unwrap();
        let replayed = log.replay(bank).unwrap_or_default();
        let zeros = vec![0; bank.digest_len()];
        values_of(values).iter().all(|(index, value)| replayed.get(index).unwrap_or(&zeros) == value)
    })
}

#[test]
fn ima_logs_are_read_whole() {
    each_case("ima", |case: &Case| {
        let log = ImaLog::parse_ascii(&case.text("ima_log_ascii").unwrap()).unwrap();
        let mut found = std::collections::BTreeMap::new();
        let names = |of: fn(&sekisho_evidence::ima::ImaEntry) -> String| {
            log.entries.iter().map(of).collect::<std::collections::BTreeSet<_>>()
        };
        found.insert("ima_entries", json!(log.entries.len()));
        found.insert("template", json!(names(|e| e.template.name().to_owned()).pop_first()));
        found.insert("hash_algorithms", json!(names(|e| e.digest.algorithm.clone())));
        found.insert("violations", json!(log.entries.iter().filter(|entry| entry.is_violation).count()));
        for (name, bank) in [("pcr10_sha1", HashAlgorithm::Sha1), ("pcr10_sha256", HashAlgorithm::Sha256)] {
            let mut state = Replayed::start(bank);
            state.add_all(&log);
            found.insert(name, json!(hex::encode(state.value())));
        }
        case.other_facts(&found)
    });
}
