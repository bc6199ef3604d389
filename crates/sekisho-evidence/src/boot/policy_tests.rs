use std::collections::BTreeMap;

use sekisho_types::{Digest, UnixTime};
use serde_json::{Value, json};

use super::image_tests::unified;
use super::*;
use crate::HashAlgorithm::Sha256;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
const ACTION: u32 = 0x8000_0007;
const APPLICATION: u32 = 0x8000_0003;
const IPL: u32 = 0x0d;

fn event(pcr: u8, kind: u32, digest: &[u8], data: &[u8]) -> Event {
    Event { pcr, kind, digests: BTreeMap::from([(Sha256, digest.to_vec())]), data: data.to_vec() }
}

/// What a machine writes that boots this image.
fn boot(image: &[u8]) -> EventLog {
    let one = |predicted: &PredictedEvent| {
        let kind = if predicted.pcr == 11 { IPL } else { APPLICATION };
        event(predicted.pcr, kind, &predicted.digest, predicted.what.as_bytes())
    };
    let events = Prediction::of(image).unwrap().events.iter().map(one).collect();
    EventLog { format: Format::CryptoAgile, banks: vec![Sha256], events }
}

/// The image as an administrator lists it.
fn listed(name: &str, image: &[u8]) -> Value {
    let predicted = Prediction::of(image).unwrap();
    let events = predicted.events.iter().filter(|event| event.is_of_image);
    let events = events.map(|e| json!({"pcr": e.pcr, "sha256": hex::encode(&e.digest), "what": e.what}));
    json!({"name": name, "events": events.collect::<Vec<_>>(), "empty_pcrs": predicted.empty})
}

fn policy(images: Vec<Value>) -> BootPolicy {
    BootPolicy::parse(json!({ "images": images }).to_string().as_bytes()).unwrap()
}

/// The verdict on a machine whose TPM holds what the log says.
fn judge(policy: &BootPolicy, log: &EventLog, now: UnixTime) -> Result<String, String> {
    judge_with(policy, log, &quoted(log), now)
}

fn quoted(log: &EventLog) -> BTreeMap<u8, Vec<u8>> {
    let mut values: BTreeMap<u8, Vec<u8>> = (0..16).map(|pcr| (pcr, vec![0; 32])).collect();
    values.extend(log.replay(Sha256).unwrap());
    values
}

fn judge_with(
    policy: &BootPolicy,
    log: &EventLog,
    values: &BTreeMap<u8, Vec<u8>>,
    now: UnixTime,
) -> Result<String, String> {
    let verdict = policy.appraise(Some(log), Quoted { bank: Sha256, values }, now);
    verdict.map(|admitted| admitted.image).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_listed_image_may_boot() {
    let image = unified(b"quiet");
    let policy = policy(vec![listed("old", &unified(b"debug")), listed("new", &image)]);
    assert_eq!(judge(&policy, &boot(&image), NOW), Ok("new".to_owned()));
}

#[test]
fn a_refusal_names_the_event_that_differs() {
    let policy = policy(vec![listed("web-1", &unified(b"quiet"))]);
    let refused = judge(&policy, &boot(&unified(b"init=/bin/sh")), NOW).unwrap_err();
    // The image itself differs first.
    assert!(refused.contains("event 0 of PCR 4") && refused.contains("image `web-1` expects"), "{refused}");
    let mut log = boot(&unified(b"quiet"));
    let place = log.events.iter().position(|event| event.data == b".cmdline").unwrap();
    let other = Sha256.digest([b"init=/bin/sh".as_slice()]);
    log.events[place] = event(11, IPL, &other, b".cmdline");
    let refused = judge(&policy, &log, NOW).unwrap_err();
    let quiet = hex::encode(Sha256.digest([b"quiet".as_slice()]));
    for part in ["event 5 of PCR 11", &hex::encode(&other), "`.cmdline`", &quiet, "(.cmdline)"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn missing_and_additional_events_are_refused() {
    let image = unified(b"quiet");
    let policy = policy(vec![listed("a", &image)]);
    let mut shorter = boot(&image);
    shorter.events.pop();
    let refused = judge(&policy, &shorter, NOW).unwrap_err();
    assert!(refused.contains("event 1 of PCR 4 is missing"), "{refused}");
    for pcr in [4, 11, 12] {
        let mut longer = boot(&image);
        longer.events.push(event(pcr, IPL, &[9; 32], b"an implant"));
        let refused = judge(&policy, &longer, NOW).unwrap_err();
        assert!(refused.contains(&format!("of PCR {pcr} measured")), "{refused}");
        assert!(refused.contains("expects no more there"), "{refused}");
    }
}

#[test]
fn a_relabelled_application_is_not_skipped() {
    let image = unified(b"quiet");
    let policy = policy(vec![listed("a", &image)]);
    // A boot loader that starts the image: the log calls it an action of the firmware, with the text of one.
    for data in [b"Calling EFI Application from Boot Option".as_slice(), &[0; 4]] {
        let mut log = boot(&image);
        log.events.insert(1, event(4, ACTION, &[9; 32], data));
        judge(&policy, &log, NOW).unwrap_err();
        // As an event that informs only, it explains nothing.
        let values = quoted(&log);
        log.events[1].kind = 3;
        let refused = judge_with(&policy, &log, &values, NOW).unwrap_err();
        assert!(refused.contains("PCR 4 its quoted value"), "{refused}");
    }
}

#[test]
fn the_log_of_another_boot_is_refused() {
    let (good, bad) = (unified(b"quiet"), unified(b"init=/bin/sh"));
    let policy = policy(vec![listed("a", &good)]);
    let refused = judge_with(&policy, &boot(&good), &quoted(&boot(&bad)), NOW).unwrap_err();
    assert!(refused.contains("it is not the log of this boot"), "{refused}");
    let mut lacking = quoted(&boot(&good));
    lacking.remove(&12);
    judge_with(&policy, &boot(&good), &lacking, NOW).unwrap_err();
}

#[test]
fn phases_of_the_start_may_follow_the_sections() {
    let image = unified(b"quiet");
    let (policy, log) = (policy(vec![listed("a", &image)]), boot(&image));
    let extended = |phases: &[&str]| {
        let mut values = quoted(&log);
        for phase in phases {
            Sha256.extend(values.get_mut(&11).unwrap(), &Sha256.digest([phase.as_bytes()]));
        }
        judge_with(&policy, &log, &values, NOW)
    };
    extended(&["enter-initrd"]).unwrap();
    extended(&["enter-initrd", "leave-initrd", "sysinit", "ready"]).unwrap();
    for wrong in [&["ready"][..], &["enter-initrd", "implant"], &["enter-initrd", "enter-initrd"]] {
        extended(wrong).unwrap_err();
    }
}

#[test]
fn windows_of_an_update_may_overlap() {
    let (old, new) = (unified(b"old"), unified(b"new"));
    let window = |mut image: Value, from: &str, to: &str| {
        image["not_before"] = from.into();
        image["not_after"] = to.into();
        image
    };
    let policy = policy(vec![
        window(listed("old", &old), "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        window(listed("new", &new), "2026-02-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ]);
    let at = |image: &[u8], time: &str| judge(&policy, &boot(image), UnixTime::parse(time).unwrap());
    for (image, time, verdict) in [
        (&old, "2026-01-15T00:00:00Z", Ok("old")),
        (&new, "2026-01-15T00:00:00Z", Err("admitted from 2026-02-01T00:00:00Z on")),
        (&old, "2026-02-15T00:00:00Z", Ok("old")),
        (&new, "2026-02-15T00:00:00Z", Ok("new")),
        (&old, "2026-03-01T00:00:00Z", Err("admitted until 2026-03-01T00:00:00Z")),
        (&new, "2026-03-01T00:00:00Z", Ok("new")),
    ] {
        match (at(image, time), verdict) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{time}"),
            (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{found}"),
            (found, wanted) => panic!("{time}: {found:?}, should be {wanted:?}"),
        }
    }
}

#[test]
fn secure_boot_can_be_required() {
    let image = unified(b"quiet");
    let mut strict = listed("a", &image);
    strict["secure_boot"] = true.into();
    let policy = policy(vec![strict]);
    // `UEFI_VARIABLE_DATA` of SecureBoot.
    let variable = |on: u8| {
        let mut data = vec![0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c];
        data.extend(10u64.to_le_bytes());
        data.extend(1u64.to_le_bytes());
        data.extend("SecureBoot".encode_utf16().flat_map(u16::to_le_bytes));
        data.push(on);
        event(7, 0x8000_0001, &Sha256.digest([data.as_slice()]), &data)
    };
    for (on, is_admitted) in [(1, true), (0, false)] {
        let mut log = boot(&image);
        log.events.insert(0, variable(on));
        assert_eq!(judge(&policy, &log, NOW).is_ok(), is_admitted);
    }
    assert!(judge(&policy, &boot(&image), NOW).unwrap_err().contains("Secure Boot"));
}

#[test]
fn without_images_or_log_nothing_is_admitted() {
    let image = unified(b"quiet");
    assert_eq!(judge(&policy(vec![]), &boot(&image), NOW), Err(BootRefusal::NoImage.to_string()));
    let some = policy(vec![listed("a", &image)]);
    let values = quoted(&boot(&image));
    assert_eq!(some.appraise(None, Quoted { bank: Sha256, values: &values }, NOW), Err(BootRefusal::NoLog));
}

#[test]
fn keylime_1002_a_wrong_policy_admits_nothing() {
    let good = listed("a", &unified(b"quiet"));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut image = good.clone();
        change(&mut image);
        json!({"images": [image]}).to_string()
    };
    let cases: [(String, &str); 15] = [
        ("{".to_owned(), "not one strict JSON text"),
        ("[]".to_owned(), "not an object"),
        (json!({"images": [], "image": []}).to_string(), "boot policy.image: unknown member"),
        (json!({"images": [good, good]}).to_string(), "two images have one name"),
        (changed(&|image| image["not_befor"] = "2026-01-01T00:00:00Z".into()), "images[0].not_befor: unknown member"),
        (changed(&|image| image["not_after"] = "soon".into()), "a time is like"),
        (changed(&|image| image["secure_boot"] = "yes".into()), "true or false"),
        (changed(&|image| image["name"] = "a b".into()), "letters, digits"),
        (changed(&|image| image["events"] = json!([])), "events of PCR 4"),
        (changed(&|image| image["events"][0]["pcr"] = 16.into()), "images[0].events[0]: `pcr`"),
        (changed(&|image| image["events"][0]["sha256"] = "00".into()), "64 hexadecimal digits"),
        (changed(&|image| image["empty_pcrs"] = json!([4])), "a PCR of `empty_pcrs` has an event"),
        (changed(&|image| image["ima"] = json!(["0a"])), "digests of 64 hexadecimal digits"),
        (changed(&|image| image["ima"] = json!("0a")), "is not a list"),
        (changed(&|image| image["ima_also"] = json!([])), "`ima_also` adds to `ima`"),
    ];
    for (text, why) in cases {
        let refused = BootPolicy::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let window = changed(&|image| {
        image["not_before"] = "2026-01-02T00:00:00Z".into();
        image["not_after"] = "2026-01-02T00:00:00Z".into();
    });
    assert!(BootPolicy::parse(window.as_bytes()).unwrap_err().to_string().contains("is not later"));
}

#[test]
fn an_image_may_list_its_files() {
    let digest = |byte: u8| hex::encode([byte; 32]);
    let mut image = listed("a", &unified(b"quiet"));
    assert_eq!(policy(vec![image.clone()]).image("a").unwrap().files, None);
    image["ima"] = json!([digest(1), digest(2)]);
    image["ima_also"] = json!([digest(3)]);
    let listed = policy(vec![image.clone()]).image("a").unwrap().files.clone().unwrap();
    assert_eq!(listed, [1, 2, 3].map(|byte| Digest::new([byte; 32])).into());
    // An empty list lets no file run.
    image["ima"] = json!([]);
    image.as_object_mut().unwrap().remove("ima_also");
    assert_eq!(policy(vec![image]).image("a").unwrap().files, Some([].into()));
}

#[test]
fn images_that_differ_in_files_only_need_times() {
    let (first, mut second) = (listed("a", &unified(b"quiet")), listed("b", &unified(b"quiet")));
    second["ima"] = json!([hex::encode([1; 32])]);
    let parsed = |images: &[&Value]| BootPolicy::parse(json!({"images": images}).to_string().as_bytes());
    let refused = parsed(&[&first, &second]).unwrap_err().to_string();
    assert!(refused.contains("images[1] (like `a`)") && refused.contains("lists other files"), "{refused}");
    // One after the other, or of other events.
    let (mut before, mut after) = (first.clone(), second.clone());
    before["not_after"] = "2027-02-01T00:00:00Z".into();
    after["not_before"] = "2027-02-01T00:00:00Z".into();
    parsed(&[&before, &after]).unwrap();
    after["not_before"] = "2027-01-31T23:59:59Z".into();
    assert!(parsed(&[&after, &before]).is_err());
    second["events"][0]["sha256"] = hex::encode([2; 32]).into();
    parsed(&[&first, &second]).unwrap();
}

#[test]
fn a_verdict_holds_while_time_and_pcrs_do() {
    let image = unified(b"quiet");
    let mut timed = listed("a", &image);
    timed["not_after"] = "2027-02-01T00:00:00Z".into();
    timed["secure_boot"] = true.into();
    let policy = policy(vec![timed]);
    let found = quoted(&boot(&image));
    let holds = |name: &str, secure_boot: Option<bool>, now: &BTreeMap<u8, Vec<u8>>, at: &str| {
        let of = |values| Quoted { bank: Sha256, values };
        policy.still_admits(name, secure_boot, (of(&found), of(now)), UnixTime::parse(at).unwrap())
    };
    assert!(holds("a", Some(true), &found, "2027-01-31T23:59:59Z"));
    assert!(!holds("a", Some(true), &found, "2027-02-01T00:00:00Z"));
    assert!(!holds("a", None, &found, "2027-01-01T00:00:00Z"));
    assert!(!holds("b", Some(true), &found, "2027-01-01T00:00:00Z"));
    // The TPM's PCR 10 is the running kernel's; PCR 12 has to stay empty.
    for (pcr, is_same) in [(10, true), (4, false), (11, false), (12, false)] {
        let mut now = found.clone();
        now.insert(pcr, vec![9; 32]);
        assert_eq!(holds("a", Some(true), &now, "2027-01-01T00:00:00Z"), is_same, "PCR {pcr}");
    }
}
