//! Images that are booted, and policies of boots.

use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::boot::{BootPolicy, EventLog, Format, Prediction, Quoted};

use crate::samples::NOW;
use crate::targets::outcome;

/// A small PE32+ image.
fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let word = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let headers = 0x58 + 240 + 40 * sections.len();
    let mut out = [&b"MZ"[..], &[0; 0x3a], &word(0x40), b"PE\0\0", &[0x64, 0x86]].concat();
    out.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    out.extend([&[0; 12][..], &[240, 0, 0x22, 0, 0x0b, 2]].concat());
    out.resize(0x58 + 60, 0);
    out.extend(word(headers));
    out.resize(0x58 + 108, 0);
    out.extend(word(16));
    out.resize(0x58 + 240, 0);
    let mut at = headers;
    for (name, content) in sections {
        out.extend(name.bytes().chain([0; 8]).take(8));
        for field in [content.len(), at, content.len(), at, 0, 0, 0, 0] {
            out.extend(word(field));
        }
        at += content.len();
    }
    sections.iter().for_each(|(_, content)| out.extend(*content));
    out
}

fn archive() -> Vec<u8> {
    let mut out = vec![];
    for (name, mode, content) in [("init", 0o100_755, &b"#!/bin/sh\n"[..]), ("TRAILER!!!", 0, b"")] {
        let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend(
            b"070701".iter().copied().chain(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes())),
        );
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

pub(crate) fn image_samples() -> Vec<Vec<u8>> {
    let kernel = pe(&[(".text", b"a kernel")]);
    let magic = b"#### LoaderInfo: systemd-stub 252 ####";
    let stored = archive();
    let length = u16::try_from(stored.len()).unwrap();
    let packed =
        [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &stored];
    [stored.clone(), packed.concat()]
        .map(|initrd| pe(&[(".sdmagic", magic), (".cmdline", b"quiet"), (".linux", &kernel), (".initrd", &initrd)]))
        .into()
}

pub(crate) fn image(input: &[u8]) -> String {
    let _signed_or_not = Prediction::under_secure_boot(input);
    outcome(Prediction::of(input).inspect(|predicted| {
        assert!(predicted.events.iter().any(|event| event.pcr == 4) && predicted.pcrs().contains_key(&11));
        assert!(predicted.events.iter().all(|event| event.digest.len() == 32));
    }))
}

pub(crate) fn policy_samples() -> Vec<Vec<u8>> {
    let digest = "07".repeat(32);
    let event = |pcr: u8| format!(r#"{{"pcr":{pcr},"sha256":"{digest}","what":"it"}}"#);
    let image = format!(
        r#"{{"images":[{{"name":"a","not_before":"2026-01-01T00:00:00Z","events":[{},{}],"empty_pcrs":[12]}}]}}"#,
        event(4),
        event(11)
    );
    vec![image.into_bytes(), br#"{"images":[]}"#.to_vec()]
}

/// A machine that measured nothing is admitted by no policy.
pub(crate) fn policy(input: &[u8]) -> String {
    let policy = BootPolicy::parse(input);
    if let Ok(policy) = &policy {
        let values = (0..16).map(|pcr| (pcr, vec![0; 32])).collect();
        let log = EventLog { format: Format::CryptoAgile, banks: vec![Sha256], events: vec![] };
        let quoted = Quoted { bank: Sha256, values: &values };
        assert!(policy.appraise(Some(&log), quoted, NOW).is_err() && policy.appraise(None, quoted, NOW).is_err());
    }
    outcome(policy)
}
