//! Evidence of TPMs: public areas, attestations, signatures, and the logs of firmware and kernel.

use std::collections::BTreeMap;

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::boot::{BootFacts, EventLog};
use sekisho_evidence::ima::{ImaLog, Replayed};
use sekisho_evidence::node::{
    CertifiedAnswer, Log, LogPart, QuotedPcrs, RecordTrust, RecordedEndorsement, Session, TpmAnswer, TpmChallenge,
    TpmOpening, TpmRecord, TpmRequest, VerifierInputs, attestor,
};
use sekisho_evidence::tpm::{Attest, Public, TpmSignature};
use sekisho_types::Digest;

use crate::samples::{AUTHORITY, NOW, trust_domain};
use crate::targets::{outcome, text};

fn big_endian(words: &[u16], rest: &[u8]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).chain(rest.iter().copied()).collect()
}

/// An attestation key on P-256, its quote of PCR 0, and a signature.
pub(crate) fn tpm_samples() -> Vec<Vec<u8>> {
    let point = [&[9; 32][..], &[0, 32], &[7; 32]].concat();
    let public = big_endian(&[0x23, 0x0b, 5, 0x72, 0, 0x10, 0x18, 0x0b, 3, 0x10, 32], &point);
    let quoted = [&[0; 16][..], &[1], &[0; 8], &[0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0, 0, 32], &[5; 32]].concat();
    let quote = big_endian(&[0xff54, 0x4347, 0x8018, 0, 0], &quoted);
    let certified = [&[0; 16][..], &[1], &[0; 8], &[0, 34, 0, 0x0b], &[5; 32], &[0, 0]].concat();
    let certify = big_endian(&[0xff54, 0x4347, 0x8017, 0, 0], &certified);
    let signature = big_endian(&[0x18, 0x0b, 32], &[&[1; 32][..], &[0, 32], &[2; 32]].concat());
    vec![public, quote, certify, signature]
}

pub(crate) fn tpm(input: &[u8]) -> String {
    let public = Public::parse(input);
    if let Ok(public) = &public {
        assert_eq!(public.name().len(), 2 + public.name_algorithm.digest_len());
        let signature = TpmSignature::parse(&tpm_samples()[3]).unwrap();
        assert!(signature.verify(public, b"message").is_err(), "no key made that signature");
    }
    format!("{}; {}; {}", outcome(public), outcome(Attest::parse(input)), outcome(TpmSignature::parse(input)))
}

/// Messages of both sides. The certificate is not for endorsement, so no first message is accepted.
pub(crate) fn exchange_samples() -> Vec<Vec<u8>> {
    let public = tpm_samples()[0].clone();
    let (ek_certificate, ek_chain) = (AUTHORITY.leaf.clone(), vec![AUTHORITY.ca.clone()]);
    let opening = TpmOpening { ek_certificate, ek_chain, ek_public: public.clone(), ak_public: public };
    let challenge = TpmChallenge { credential: vec![1; 50], encrypted_seed: vec![2; 256], nonce: [3; 32] };
    let pcrs = BTreeMap::from([(0, vec![4; 32])]);
    let kernel = BTreeMap::from([("tainted".to_owned(), "0".to_owned())]);
    let quoted = QuotedPcrs { quote: vec![5; 100], signature: vec![6; 70], pcrs, kernel };
    let asked = [TpmRequest::Quote { nonce: [3; 32] }, TpmRequest::Log { log: Log::Ima, from: 7 }];
    let parts = [LogPart::Absent, LogPart::Last(vec![7; 9]), LogPart::More(vec![])];
    let certified = Some(CertifiedAnswer { public: vec![9; 90], attest: vec![10; 100], signature: vec![11; 70] });
    let answer = TpmAnswer { quoted: quoted.clone(), certified };
    let record = record_sample(&opening, &answer).encode();
    [opening.encode(), challenge.encode(), answer.encode(&[8; 32], b"bound"), quoted.encode(), record]
        .into_iter()
        .chain(asked.iter().map(TpmRequest::encode))
        .chain(parts.iter().map(LogPart::encode))
        .collect()
}

/// What a server keeps of such an attestation.
fn record_sample(opening: &TpmOpening, answer: &TpmAnswer) -> TpmRecord {
    let (certificate, chain) = (opening.ek_certificate.clone(), opening.ek_chain.clone());
    TpmRecord {
        attestor: "tpm".to_owned(),
        node: trust_domain().workload("/spire/agent/tpm/a").unwrap(),
        at: NOW,
        endorsement: Some(RecordedEndorsement { certificate, chain, public: opening.ek_public.clone() }),
        ak_public: opening.ak_public.clone(),
        nonce: [3; 32],
        key: Digest::new([4; 32]),
        exporter: [5; 32],
        quoted: answer.quoted.clone(),
        certified: answer.certified.clone(),
        event_log: event_log_samples().into_iter().next(),
        ima_from: Replayed::kept(HashAlgorithm::Sha256, vec![6; 32], 7, 8),
        ima_log: ima_samples().into_iter().next(),
        anchors: vec![Digest::new([7; 32])],
        boot_policy: Some(Digest::new([8; 32])),
        boot_image: Some("web-7".to_owned()),
        refused: None,
    }
}

pub(crate) fn exchange(input: &[u8]) -> String {
    let (trust_domain, anchors) = (trust_domain(), [AUTHORITY.ca.clone()]);
    let session = Session::new([0; 32], b"key", &|| [1; 32]);
    let given = VerifierInputs {
        session,
        trust_domain: &trust_domain,
        anchors: &anchors,
        manufacturers: &anchors,
        remembered: &|_| None,
        approvals: false,
        boot_policy: None,
        now: NOW,
    };
    let begun = attestor("tpm").unwrap().begin(input, &given).map(|_| ());
    assert!(begun.is_err(), "no manufacturer certified that key");
    let answer = TpmAnswer::decode(input, &[8; 32], b"bound").map(|answer| answer.quoted.pcrs.len());
    if let Some(part) = LogPart::decode(input) {
        assert_eq!(part.encode(), input, "a part has one form");
    }
    if let Ok(record) = TpmRecord::decode(input) {
        assert_eq!(TpmRecord::decode(&record.encode()).as_ref(), Ok(&record), "what is written is read");
        let trust = RecordTrust { anchors: &anchors, endorsement_key: None, boot_policy: None, at: NOW };
        assert!(record.appraise(&trust).is_err(), "no TPM signed that");
    }
    let request = TpmRequest::decode(input);
    format!("{}; {request:?}; {answer:?}; {}", outcome(begun), QuotedPcrs::decode(input).is_some())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

pub(crate) fn event_log_samples() -> Vec<Vec<u8>> {
    let head = |pcr: u32, kind: u32| [pcr.to_le_bytes(), kind.to_le_bytes()].concat();
    let spec = [&b"Spec ID Event03\0"[..], &[0, 0, 0, 0, 0, 2, 0, 8, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]].concat();
    let first = [head(0, 3), vec![0; 20], sized(&spec)].concat();
    let event =
        |pcr, kind, data: &[u8]| [head(pcr, kind), vec![1, 0, 0, 0, 0x0b, 0], vec![5; 32], sized(data)].concat();
    let locality = event(0, 3, b"StartupLocality\0\x03");
    let old = [head(5, 0x8000_0007), vec![1; 20], sized(b"Exit Boot Services Invocation")].concat();
    vec![[first, locality, event(0, 8, b"firmware"), event(4, 0x8000_0003, b"loader")].concat(), old]
}

pub(crate) fn event_log(input: &[u8]) -> String {
    outcome(EventLog::parse(input).inspect(|log| {
        for bank in &log.banks {
            let _facts = BootFacts::of(log, *bank);
            if let Ok(pcrs) = log.replay(*bank) {
                assert!(pcrs.values().all(|value| value.len() == bank.digest_len()));
            }
        }
    }))
}

pub(crate) fn ima_samples() -> Vec<Vec<u8>> {
    let data = [sized(&[&b"sha256:\0"[..], &[3; 32]].concat()), sized(b"/bin/sh\0")].concat();
    let head = HashAlgorithm::Sha1.digest([data.as_slice()]);
    let line = format!("10 {} ima-ng sha256:{} /bin/sh\n", hex(&head), hex(&[3; 32]));
    vec![[&10u32.to_le_bytes()[..], &head, &sized(b"ima-ng"), &sized(&data)].concat(), line.into_bytes()]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn ima(input: &[u8]) -> String {
    let binary = ImaLog::parse_binary(input).inspect(|log| {
        let mut all = Replayed::start(HashAlgorithm::Sha256);
        all.add_all(log);
        let mut found = Replayed::start(HashAlgorithm::Sha256);
        let vouched = found.up_to(log, all.value()).map(<[_]>::len);
        assert_eq!(vouched, Some(log.entries.len()), "a log leads to its own value");
        let mut parts = Replayed::start(HashAlgorithm::Sha256);
        assert_eq!(parts.take_part(input, all.value(), |_| {}), Ok(true));
        assert_eq!(parts, all, "it is read as one part");
    });
    format!("{}; {}", outcome(binary), outcome(ImaLog::parse_ascii(&text(input))))
}
