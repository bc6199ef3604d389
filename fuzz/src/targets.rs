//! One target for each parser. A target panics when a promise of its parser is broken, and otherwise says what came
//! out.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use sekisho_api::EntryForm;
use sekisho_events::{Event, Leaf, NodeEvent, Receipt};
use sekisho_evidence::{NodeCertificate, X509PopError};
use sekisho_identity::{Csr, bundle_to_jwks, leaf_facts, parse_bundle, parse_bundle_map, split_chain, verify_svid};
use sekisho_keys::MemoryKey;
use sekisho_ledger::{Bundle, Checkpoint, Hash, Note, TlogProof, TrustPolicy, VerifierKey, verify_consistency};
use sekisho_net::{Identity, TlsMaterial};
use sekisho_policy::{PolicySet, Replayed, RequestInput, Source, TestFile};
use sekisho_proto::{bundle_from_wire, entry_from_wire, server, types};
use sekisho_proxy::guard;
use sekisho_proxy::http1_scan::Scanner;
use sekisho_runtime::{TraceParent, configuration};
use sekisho_types::{
    EntryId, Secret, Selector, SignatureAlgorithm, SpiffeId, TrustDomain, Verified, parse_strict_json,
};

use crate::files;
use crate::samples::{AUTHORITY, LOG, NOW, request, trust_domain, workload};
use crate::{attestation, boot, log_targets, policies};

/// A parser under test.
pub struct Target {
    pub name: &'static str,
    pub samples: fn() -> Vec<Vec<u8>>,
    pub run: fn(&[u8]) -> String,
    /// Executions in the short run of `make test`; those that touch files do fewer.
    pub short: u64,
}

const SHORT: u64 = 3000;

/// Every target.
pub fn all() -> Vec<Target> {
    identities().into_iter().chain(records_and_requests()).collect()
}

const fn target(name: &'static str, samples: fn() -> Vec<Vec<u8>>, run: fn(&[u8]) -> String) -> Target {
    Target { name, samples, run, short: SHORT }
}

/// Identities, and what is configured and kept about them.
fn identities() -> Vec<Target> {
    vec![
        target(
            "spiffe-id",
            || texts(&["spiffe://td.example/a/b", "spiffe://td", "spiffe://1.2.3.4/x-y_z.~"]),
            spiffe_id,
        ),
        target("selector", || texts(&["unix:uid:1000", "unix:sha256:00ff", "k8s:ns:a"]), selector),
        target("strict-json", || texts(&[r#"{"a":[1,2,{"b":null}],"c":"\u00e9"}"#, "[]"]), strict_json),
        target("csr", || vec![AUTHORITY.csr.clone()], csr),
        target("x509-svid", || vec![AUTHORITY.leaf.clone(), [&AUTHORITY.leaf[..], &AUTHORITY.ca].concat()], x509_svid),
        target("bundle", || vec![AUTHORITY.jwks.clone()], bundle),
        target("jwt-svid", || vec![AUTHORITY.token.clone().into_bytes()], jwt_svid),
        target("pem", pem_samples, pem),
        target("x509pop", x509pop_samples, x509pop),
        target("tpm", attestation::tpm_samples, attestation::tpm),
        target("tpm-exchange", attestation::exchange_samples, attestation::exchange),
        target("event-log", attestation::event_log_samples, attestation::event_log),
        target("ima-log", attestation::ima_samples, attestation::ima),
        target("boot-image", boot::image_samples, boot::image),
        target("boot-policy", boot::policy_samples, boot::policy),
        target("key-file", || vec![AUTHORITY.key.clone()], key_file),
        target("identity", || vec![AUTHORITY.key.clone(), AUTHORITY.leaf.clone()], identity),
        target("merkle-proof", || vec![vec![3, 8, 1, 2, 3], vec![7; 200]], merkle_proof),
        target(
            "rest-entry",
            || texts(&[r#"{"spiffe_id":"spiffe://td/a","parent_id":"spiffe://td/n","selectors":["unix:uid:1"]}"#]),
            |input| outcome(rest_entry(input)),
        ),
        target(
            "openings",
            || {
                texts(&[
                    r#"{"a":{"nonce":"0000000000000000000000000000000000000000000000000000000000000000","value":"b"}}"#,
                ])
            },
            |input| format!("{} openings", sekisho_events::openings_of(input).map_or(0, |all| all.len())),
        ),
        target("unix-authority", unix_authority_samples, unix_authority),
        target(
            "traceparent",
            || texts(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
            |input| format!("{:?}", TraceParent::parse(&text(input)).is_some()),
        ),
        target("policy-input", policy_input_samples, policy_input),
        target(
            "stored-rows",
            || vec![files::stored_entry()],
            |input| outcome(sekisho_store::check_stored(&text(input))),
        ),
        target(
            "stored-revocations",
            || texts(&[files::STORED_REVOCATION]),
            |input| outcome(sekisho_store::check_stored_revocation(&text(input))),
        ),
        target("agent-cache", || vec![files::AGENT_CACHE.into()], |input| outcome(sekisho_agent::check_cached(input))),
    ]
}

/// What is logged, sent and decided.
fn records_and_requests() -> Vec<Target> {
    let slow = |name, samples, run| Target { name, samples, run, short: 60 };
    vec![
        target("leaf", leaf_samples, leaf),
        target("note", || vec![LOG.checkpoint.clone().into_bytes()], note),
        target("trust-policy", || vec![LOG.policy.clone().into_bytes()], trust_policy),
        target("receipt", || vec![LOG.receipt.clone().into_bytes()], receipt),
        target("consistency-proof", log_targets::consistency_samples, log_targets::consistency),
        target("tile-request", log_targets::tile_samples, log_targets::tile),
        target(
            "witness-url",
            || texts(&["https://w.example:8443/a/", "http://127.0.0.1:80/", "http://[::1]/x"]),
            log_targets::prefix,
        ),
        target("entry-bundle", || vec![b"\x00\x03abc\x00\x00".to_vec()], entry_bundle),
        target("wire-entry", wire_entry_samples, wire_entry),
        target("wire-bundle", wire_bundle_samples, wire_bundle),
        target("wire-requests", wire_request_samples, wire_requests),
        target("records", record_samples, records),
        target("http1", http1_samples, http1),
        target("request-head", || texts(&["/v1/a?b=c\nhost: a\nx-b: c", "/\ncontent-length: 5"]), request_head),
        Target { name: "policy", samples: policy_samples, run: policy, short: 400 },
        Target { name: "policy-grammar", samples: policies::samples, run: policies::run, short: 400 },
        target("policy-tests", || texts(&["cases:\n- name: a\n  input: {method: a}\n  allow: true\n"]), policy_tests),
        slow("write-ahead-file", files::wal_samples, files::write_ahead_file),
        target("proc", files::proc_samples, files::proc),
        target(
            "settings",
            || texts(&["a = 'b'\nc = [1, true]\n", "[a]\nb = 1\n"]),
            |input| outcome(configuration(&text(input))),
        ),
        target("stored-policy", || texts(&[r#"{"revision":1,"files":[["a.rego","package a"]]}"#]), files::stored),
        slow("sealed-cache", || vec![files::sealed(b"what an agent knows")], files::sealed_cache),
        slow("segment", files::segment_samples, files::segment),
        slow("ledger-tiles", || vec![vec![0; 8], vec![3, 1, 4, 1, 5, 9, 2, 6]], files::ledger_tiles),
    ]
}

fn texts(samples: &[&str]) -> Vec<Vec<u8>> {
    samples.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(crate) fn outcome<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

pub(crate) fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn spiffe_id(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let _name = TrustDomain::parse(&text);
    outcome(
        SpiffeId::parse(&text)
            .inspect(|id| assert_eq!(SpiffeId::parse(&id.to_string()).as_ref(), Ok(id), "an ID has one form")),
    )
}

fn selector(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let _id = EntryId::parse(&text);
    outcome(Selector::parse(&text).inspect(|selector| assert_eq!(selector.to_string(), text)))
}

fn strict_json(input: &[u8]) -> String {
    outcome(parse_strict_json(input, 4096))
}

fn csr(input: &[u8]) -> String {
    outcome(Csr::verify(input))
}

fn x509_svid(input: &[u8]) -> String {
    let facts = outcome(leaf_facts(input));
    let chain = match split_chain(input) {
        Ok(chain) => chain,
        Err(error) => return format!("{facts}; {error}"),
    };
    let verified = verify_svid(&chain, &AUTHORITY.bundle, NOW).inspect(|leaf| {
        // Only what our authority signed can verify, so the leaf is the sample to the byte.
        assert_eq!(chain[0], AUTHORITY.leaf);
        assert_eq!(leaf.get().spiffe_id, workload());
    });
    format!("{facts}; {}", outcome(verified))
}

fn bundle(input: &[u8]) -> String {
    let _map = parse_bundle_map(input);
    outcome(parse_bundle(&trust_domain(), input).inspect(|bundle| {
        let again = parse_bundle(&trust_domain(), bundle_to_jwks(bundle).to_string().as_bytes());
        assert_eq!(again.map(|b| b.x509_concatenated()).ok(), Some(bundle.x509_concatenated()));
    }))
}

fn jwt_svid(input: &[u8]) -> String {
    let token = String::from_utf8_lossy(input);
    let _claimed = sekisho_jose::claims_unverified(&token);
    let rules = sekisho_jose::Rules {
        audience: "ledger",
        only_audience: false,
        issuer: None,
        revoked_token_ids: &BTreeSet::new(),
        now: NOW,
        leeway_seconds: 0,
        max_life_seconds: 300,
    };
    outcome(sekisho_jose::verify_jwt_svid(&token, std::slice::from_ref(&AUTHORITY.token_key), &rules).inspect(|svid| {
        assert_eq!(svid.get().subject, workload());
        // ECDSA signatures are malleable, what they sign is not.
        let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
        assert_eq!(signed(&token), signed(&AUTHORITY.token));
    }))
}

fn pem_samples() -> Vec<Vec<u8>> {
    texts(&[
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    ])
}

fn pem(input: &[u8]) -> String {
    let certificates = sekisho_net::certificates_from_pem(input);
    let key = sekisho_net::private_key_from_pem(input).is_some();
    format!("{} {key}", certificates.len())
}

fn x509pop_payload() -> String {
    let leaf = base64::engine::general_purpose::STANDARD.encode(&AUTHORITY.leaf);
    serde_json::json!({ "certificates": [leaf] }).to_string()
}

fn node_certificate(payload: &[u8]) -> Result<Verified<NodeCertificate>, X509PopError> {
    let trust_domain = TrustDomain::parse("td").unwrap();
    NodeCertificate::verify(payload, std::slice::from_ref(&AUTHORITY.ca), &trust_domain, NOW)
}

fn x509pop_samples() -> Vec<Vec<u8>> {
    let good = x509pop_payload();
    let challenge = node_certificate(good.as_bytes()).unwrap().get().challenge(&[1; 32]);
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let answer = sekisho_evidence::answer(&challenge, &[2; 32], &key).unwrap();
    vec![good.into_bytes(), challenge, answer]
}

fn x509pop(input: &[u8]) -> String {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let answer = sekisho_evidence::answer(input, &[0; 32], &key);
    let token = String::from_utf8_lossy(input);
    let good = node_certificate(x509pop_payload().as_bytes());
    let proof = good.unwrap().get().verify_answer(&[1; 32], input);
    assert!(proof.is_err(), "no party holds that key");
    format!(
        "{}; {}; {}; {}",
        outcome(proof),
        outcome(node_certificate(input)),
        outcome(answer),
        outcome(sekisho_evidence::check_token(&token))
    )
}

fn key_file(input: &[u8]) -> String {
    let read = |algorithm| outcome(MemoryKey::from_pkcs8(algorithm, Secret::new(input.to_vec())));
    format!("{}; {}", read(SignatureAlgorithm::EcdsaP256Sha256), read(SignatureAlgorithm::Ed25519))
}

/// An identity as an agent delegates it: bytes that may or may not be a certificate or a key.
fn identity(input: &[u8]) -> String {
    let material = |chain: &[u8], key: &[u8]| {
        let identity = Identity { chain: vec![chain.to_vec()], key: Secret::new(key.to_vec()) };
        outcome(TlsMaterial::new(Some(&identity), AUTHORITY.bundle.clone().into()))
    };
    format!("{}; {}", material(&AUTHORITY.leaf, input), material(input, &AUTHORITY.key))
}

/// No bytes prove that two different trees of one size are the same.
fn merkle_proof(input: &[u8]) -> String {
    let (sizes, rest) = input.split_at(input.len().min(2));
    let [old, new] = [0, 1].map(|at| u64::from(sizes.get(at).copied().unwrap_or(1)));
    let hash = |chunk: &[u8]| std::array::from_fn(|at| chunk.get(at).copied().unwrap_or_default());
    let proof: Vec<Hash> = rest.chunks(32).map(hash).collect();
    let (ours, theirs) = (hash(b"ours"), hash(b"theirs"));
    let consistent = verify_consistency(old, new, &ours, &theirs, &proof);
    assert!(consistent.is_err() || old != new, "two roots of one size");
    outcome(consistent)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// As gRPC's C core writes it: settings, then a head whose authority is a path.
fn unix_authority_samples() -> Vec<Vec<u8>> {
    let block = b"\x83\x40\x05:path\x04/%2F\x40\x0a:authority\x0etmp%2Fcap.sock\x00\x01a\x03%2F";
    let head = [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1], &block[..]].concat();
    vec![[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &head].concat()]
}

fn unix_authority(input: &[u8]) -> String {
    // As it stands, and behind what begins each such connection.
    let mut changed = 0;
    for written in [input.to_vec(), [PREFACE, input].concat()] {
        let read = sekisho_net::rewrite_unix_authority(&written);
        assert_eq!(read.len(), written.len(), "nothing is left out, nothing comes in");
        for (was, is) in written.iter().zip(&read) {
            assert!(was == is || (*was, *is) == (b'%', b'-'), "{was} became {is}");
            changed += usize::from(was != is);
        }
    }
    format!("{} changed", changed.min(3))
}

fn policy_input_samples() -> Vec<Vec<u8>> {
    texts(&[r#"{"method":"GET","path":["v1"],"query":"","headers":{"a":"b"},"destination":"spiffe://td.example/b",
        "request_id":"1","subject":{"spiffe_id":"spiffe://td.example/a","issued_at":1,"claims":{"hw":true}}}"#])
    .into_iter()
    .chain(record_samples())
    .collect()
}

/// Records as sidecars and agents made them.
fn record_samples() -> Vec<Vec<u8>> {
    let lines = include_str!("../../crates/sekisho-events/src/node/golden_records.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| line.as_bytes().to_vec()).collect()
}

/// An input that is read is decided, and the same by both of our ways.
fn policy_input(input: &[u8]) -> String {
    const POLICY: &str = "package workload.authz\n\ndefault allow := false\n\nallow if {\n\tinput.method == \"GET\"\n\t\
        input.path[0] == \"v1\"\n\tinput.subject.claims.hw\n\tnot input.headers.b\n}\n";
    static SET: LazyLock<PolicySet> =
        LazyLock::new(|| PolicySet::load(vec![Source { name: "p.rego".into(), text: POLICY.into() }]).unwrap());
    let Ok(value) = serde_json::from_slice(input) else { return "no JSON".into() };
    if let Ok(NodeEvent::Decided(decided)) = NodeEvent::from_json(&value) {
        // The policy reads nothing that a record hides.
        assert!(matches!(SET.replay(&decided.recorded, None), Replayed::Decided(_)));
        return "a record".into();
    }
    match RequestInput::from_json(&value) {
        Err(error) => error,
        Ok(read) => {
            let (ours, engine) = (SET.decide(&read, NOW).effect, SET.decide_by_engine(&read, NOW).effect);
            assert_eq!(ours, engine);
            format!("{ours:?}")
        }
    }
}

/// One leaf of each form, as the log keeps it: the leaf, a newline, and what opens its commitments.
fn leaf_samples() -> Vec<Vec<u8>> {
    let encoded = Event::samples(1).into_iter().map(|event| Leaf::new(trust_domain(), NOW, event).encode().unwrap());
    encoded.map(|one| [&one.leaf[..], b"\n", &one.side].concat()).collect()
}

/// What is read is written as it was, with and without what opens its commitments.
fn leaf(input: &[u8]) -> String {
    let (leaf, side) =
        input.iter().position(|byte| *byte == b'\n').map_or((input, &[][..]), |at| (&input[..at], &input[at + 1..]));
    let read = match Leaf::decode(leaf) {
        Ok(read) => read,
        Err(error) => return error.to_string(),
    };
    assert_eq!(read.encode().unwrap().leaf, leaf, "a leaf has one encoding");
    let opened = Leaf::decode_with_side(leaf, side);
    if let Ok(opened) = &opened {
        assert_eq!(opened.encode().unwrap().leaf, leaf, "openings change nothing");
    }
    let opened = opened.map_or_else(|error| error.to_string(), |_| "opened".to_owned());
    format!("{} {:?}: {opened}", read.event.kind(), read.event.says())
}

fn note(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let verified =
        TrustPolicy::parse(&LOG.policy).unwrap().verify(&text).inspect(|checkpoint| assert_eq!(checkpoint.size, 1));
    format!("{}; {}; {}", outcome(Note::parse(&text)), outcome(Checkpoint::parse(&text)), outcome(verified))
}

fn trust_policy(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    format!("{}; {}", outcome(TrustPolicy::parse(&text)), outcome(VerifierKey::parse(&text)))
}

fn receipt(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let _proof = TlogProof::parse(&text);
    let receipt = match Receipt::parse(&text) {
        Ok(receipt) => receipt,
        Err(error) => return error.to_string(),
    };
    assert_eq!(receipt.to_string(), text, "a receipt has one form");
    let verified = receipt.verify(&TrustPolicy::parse(&LOG.policy).unwrap());
    outcome(verified.inspect(|_| assert_eq!(receipt.leaf, LOG.leaf, "only the logged leaf verifies")))
}

fn entry_bundle(input: &[u8]) -> String {
    outcome(Bundle::entries(input).inspect(|entries| {
        let mut again = vec![];
        entries.iter().for_each(|entry| Bundle::append(&mut again, entry).unwrap());
        assert_eq!(again, input);
    }))
}

fn wire_entry_samples() -> Vec<Vec<u8>> {
    let id = types::Spiffeid { trust_domain: "fuzz.internal".into(), path: "/svc".into() };
    let entry = types::Entry {
        spiffe_id: Some(id.clone()),
        parent_id: Some(id),
        selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:0".into() }],
        x509_svid_ttl: 60,
        dns_names: vec!["a.internal".into()],
        ..Default::default()
    };
    vec![prost::Message::encode_to_vec(&entry)]
}

fn wire_entry(input: &[u8]) -> String {
    let id = EntryId::parse("e1").unwrap();
    match <types::Entry as prost::Message>::decode(input) {
        Ok(entry) => outcome(entry_from_wire(&entry, &id, None)),
        Err(_) => "no message".to_owned(),
    }
}

fn wire_bundle_samples() -> Vec<Vec<u8>> {
    vec![prost::Message::encode_to_vec(&sekisho_proto::bundle_to_wire(&AUTHORITY.bundle))]
}

fn wire_bundle(input: &[u8]) -> String {
    match <types::Bundle as prost::Message>::decode(input) {
        Ok(bundle) => outcome(bundle_from_wire(&bundle)),
        Err(_) => "no message".to_owned(),
    }
}

fn wire_request_samples() -> Vec<Vec<u8>> {
    let record = server::RecordRequest { records: vec!["{}".into()], lost: 1, batch_key: "a:0".into() };
    let watch = server::WatchResponse { revision: 1, complete: true, ..Default::default() };
    vec![prost::Message::encode_to_vec(&record), prost::Message::encode_to_vec(&watch)]
}

fn wire_requests(input: &[u8]) -> String {
    let record = <server::RecordRequest as prost::Message>::decode(input).is_ok();
    let watch = <server::WatchResponse as prost::Message>::decode(input).is_ok();
    let issue = <server::IssueX509Request as prost::Message>::decode(input).is_ok();
    format!("{record} {watch} {issue}")
}

/// What is read has a form, in which it is read again.
fn records(input: &[u8]) -> String {
    if let Ok(event) = NodeEvent::decode(input) {
        assert_eq!(NodeEvent::decode(&event.encode()).as_ref(), Ok(&event));
    }
    sekisho_server::check_records(vec![input.to_vec().into()]).map_or_else(|error| error, |count| count.to_string())
}

fn http1_samples() -> Vec<Vec<u8>> {
    texts(&[
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ])
}

fn http1(input: &[u8]) -> String {
    let whole = Scanner::new().feed(input);
    let mut scanner = Scanner::new();
    let single = input.chunks(1).try_for_each(|byte| scanner.feed(byte));
    assert_eq!(whole, single, "where reads end makes no difference");
    outcome(whole)
}

fn request_head(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let mut builder = http::Request::builder().uri(lines.next().unwrap_or_default());
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        builder = builder.header(name, value);
    }
    match builder.body(()) {
        Ok(request) => {
            let (parts, ()) = request.into_parts();
            outcome(guard::read(&parts).inspect(|plain| {
                let path = format!("/{}", plain.path.join("/"));
                assert_eq!(path, parts.uri.path(), "what is judged is what is forwarded");
            }))
        }
        Err(_) => "no request".to_owned(),
    }
}

fn policy_samples() -> Vec<Vec<u8>> {
    let head = "package workload.authz\nimport rego.v1\n";
    let bodies = [
        "default allow := false\nallow if {\n input.method == \"GET\"\n input.headers[\"x-region\"] in {\"eu\", \"us\"}\n}\n",
        "allow if { not input.subject.claims.hw_attested\n input.subject.claims.level > 3 }\n",
        "age := time.now_ns() - input.subject.issued_at\nallow if { age < 100 * 1000000000\n input.path == [\"v1\", \"transactions\"] }\n",
        "role := input.headers[\"x-role\"]\nallow if role == \"admin\"\nallow if { not role == \"viewer\"\n input.subject.claims.level + 1 >= -3 }\n",
        "allow if { some x in input.path\n x == \"admin\" }\nallow := true if input.method != \"GET\"\n",
        "allow if { input.subject.claims.level * 0.1 > 0.3\n input.subject.issued_at / 3 != 1.5 }\nallow if input.subject.claims.level in [1, 2.0, 3]\n",
        "f(x) := x\nallow if { f(input.method) == \"GET\" } else := false\n",
    ];
    bodies
        .iter()
        .map(|body| format!("{head}{body}").into_bytes())
        .chain(texts(&["package workload.authz\nallow { input.method }\n"]))
        .collect()
}

/// The two ways of deciding agree on requests chosen by the text's own bytes.
fn policy(input: &[u8]) -> String {
    let source = Source { name: "fuzz.rego".to_owned(), text: String::from_utf8_lossy(input).into_owned() };
    let set = match PolicySet::load(vec![source]) {
        Ok(set) => set,
        Err(error) => return error.to_string(),
    };
    let mut effects = String::new();
    for skip in 0..6 {
        let choice: Vec<u8> = input.iter().rev().skip(skip * 3).copied().map(|b| b.wrapping_mul(31)).collect();
        let request = request(&choice);
        let (fast, engine) = (set.decide(&request, NOW), set.decide_by_engine(&request, NOW));
        assert_eq!(fast.effect, engine.effect, "the lowering and the engine disagree");
        assert_eq!(fast.rule, engine.rule, "they agree for different reasons");
        effects.push_str(fast.effect.as_str());
    }
    effects
}

fn policy_tests(input: &[u8]) -> String {
    TestFile::parse(&String::from_utf8_lossy(input)).map_or_else(|error| error, |_| "ok".to_owned())
}

/// An entry as an operator sends it.
fn rest_entry(body: &[u8]) -> Result<(), String> {
    let form: EntryForm = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let id = EntryId::parse("ent_new").map_err(|error| error.to_string())?;
    form.to_entry(&id).map(drop).map_err(|error| error.to_string())
}
