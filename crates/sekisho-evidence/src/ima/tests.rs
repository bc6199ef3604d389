use super::*;
use crate::HashAlgorithm::{Sha1, Sha256};

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn data(digest: u8, path: &str) -> Vec<u8> {
    let digest = [b"sha256:\0".as_slice(), &[digest; 32]].concat();
    [sized(&digest), sized(&[path.as_bytes(), &[0]].concat())].concat()
}

fn entry_with(head: &[u8], template: &str, data: &[u8]) -> Vec<u8> {
    [10u32.to_le_bytes().as_slice(), head, &sized(template.as_bytes()), &sized(data)].concat()
}

fn entry(digest: u8, path: &str) -> Vec<u8> {
    let data = data(digest, path);
    entry_with(&Sha1.digest([data.as_slice()]), "ima-ng", &data)
}

#[test]
fn entries_after_the_quote_prove_nothing() {
    let log = ImaLog::parse_binary(&[entry(1, "/a"), entry(2, "/b"), entry(3, "/c")].concat()).unwrap();
    let two = ImaLog::parse_binary(&[entry(1, "/a"), entry(2, "/b")].concat()).unwrap();
    let mut quoted = Replayed::start(Sha256);
    quoted.add_all(&two);
    let mut state = Replayed::start(Sha256);
    let vouched = state.up_to(&log, quoted.value()).unwrap();
    assert_eq!(vouched.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!(state.entries, 2);
}

#[test]
fn a_later_log_goes_on_from_the_state() {
    let first = ImaLog::parse_binary(&entry(1, "/a")).unwrap();
    let more = ImaLog::parse_binary(&entry(2, "/b")).unwrap();
    let mut whole = Replayed::start(Sha256);
    whole.add_all(&first);
    let mut state = whole.clone();
    whole.add_all(&more);
    assert_eq!(state.up_to(&more, whole.value()).unwrap().len(), 1);
    assert_eq!(state, whole);
    let before = state.clone();
    assert_eq!(state.up_to(&more, &[5; 32]), None);
    assert_eq!(state, before, "a refused log changes nothing");
}

#[test]
fn a_violation_extends_ones() {
    let log = ImaLog::parse_binary(&entry_with(&[0; 20], "ima-ng", &data(1, "/a"))).unwrap();
    assert!(log.entries[0].is_violation);
    let mut state = Replayed::start(Sha256);
    state.add_all(&log);
    let mut wanted = vec![0; 32];
    Sha256.extend(&mut wanted, &[0xff; 32]);
    assert_eq!(state.value(), wanted);
}

#[test]
fn unknown_templates_are_refused() {
    let data = data(1, "/a");
    let head = Sha1.digest([data.as_slice()]);
    for template in ["ima", "ima-xyz", ""] {
        ImaLog::parse_binary(&entry_with(&head, template, &data)).unwrap_err();
    }
    ImaLog::parse_binary(&entry_with(&[7; 20], "ima-ng", &data)).unwrap_err();
}

#[test]
fn a_cut_log_is_refused_inside_an_entry() {
    let log = entry(1, "/a");
    for at in 1..log.len() {
        ImaLog::parse_binary(&log[..at]).unwrap_err();
    }
}

#[test]
fn both_forms_say_the_same() {
    let binary = ImaLog::parse_binary(&entry(1, "/a file")).unwrap();
    let head = hex::encode(Sha1.digest([data(1, "/a file").as_slice()]));
    let line = format!("10 {head} ima-ng sha256:{} /a file\n", hex::encode([1; 32]));
    assert_eq!(ImaLog::parse_ascii(&line).unwrap(), binary);
    for wrong in [line.replacen("10", "11", 1), line.replace("/a file", "/b"), line.replace("sha256:", "")] {
        ImaLog::parse_ascii(&wrong).unwrap_err();
    }
}

#[test]
fn a_log_in_parts_gives_the_same() {
    let bytes = [entry(1, "/a"), entry(2, "/b"), entry(3, "/c")].concat();
    let mut whole = Replayed::start(Sha256);
    whole.add_all(&ImaLog::parse_binary(&bytes).unwrap());
    assert_eq!((whole.entries, whole.bytes), (3, bytes.len() as u64));
    for length in 1..=bytes.len() {
        let (mut state, mut paths) = (Replayed::start(Sha256), vec![]);
        let mut end = 0;
        loop {
            end = bytes.len().min(end + length);
            let from = usize::try_from(state.bytes).unwrap();
            let part = &bytes[from..end];
            if state.take_part(part, whole.value(), |entry| paths.push(entry.path.clone())).unwrap() {
                break;
            }
            assert!(end < bytes.len(), "no part has the quoted value");
        }
        assert_eq!((&state, paths.join(" ").as_str()), (&whole, "/a /b /c"));
    }
}

#[test]
fn nothing_after_the_quoted_value_is_read() {
    let mut quoted = Replayed::start(Sha256);
    quoted.add_all(&ImaLog::parse_binary(&entry(1, "/a")).unwrap());
    let foul = [entry(1, "/a"), entry_with(&[0; 20], "ima-xyz", b"?")].concat();
    let mut state = Replayed::start(Sha256);
    assert!(state.take_part(&foul, quoted.value(), |_| {}).unwrap());
    assert_eq!(state, quoted);
    // Where it is needed, it is refused.
    let mut state = Replayed::start(Sha256);
    state.take_part(&foul, &[9; 32], |_| {}).unwrap_err();
    let long = [&entry(1, "/a")[..24], &[0xff; 4]].concat();
    Replayed::start(Sha256).take_part(&long, &[9; 32], |_| {}).unwrap_err();
}

#[test]
fn what_was_kept_fits_its_bank() {
    assert_eq!(Replayed::kept(Sha256, vec![0; 32], 0, 0), Some(Replayed::start(Sha256)));
    assert_eq!(Replayed::kept(Sha256, vec![0; 20], 0, 0), None);
}
