use sekisho_types::{ClaimValue, EntryId, Revision};

use super::*;
use crate::AgentKey;

/// SubjectPublicKeyInfo of some key on P-256.
fn public_key() -> Vec<u8> {
    let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let point = format!("04{}{}", "11".repeat(32), "22".repeat(32));
    hex::decode(format!("{head}{point}")).unwrap()
}

/// The SHA-256 of what is signed, and of the certificate with this signature.
fn digests(tbs: &[u8]) -> [String; 2] {
    let certificate = assemble_certificate(tbs, SignatureAlgorithm::EcdsaP256Sha256, &[7; 71]).unwrap();
    [tbs, &certificate].map(|bytes| hex::encode(crate::sha256(bytes).as_bytes()))
}

#[test]
fn certificates_keep_their_bytes() {
    let key = public_key();
    let trust_domain = TrustDomain::parse("a-name-that-is-longer-than-thirty-one.example.org").unwrap();
    let [not_before, not_after] = [1_800_000_000, 2_600_000_000].map(UnixTime::from_seconds);
    let (serial, public_key) = ([0x41; 16], key.as_slice());
    let ca = CaTemplate { trust_domain: &trust_domain, serial, not_before, not_after, public_key };
    let issuer = Issuer::of(&ca).unwrap();
    let id = trust_domain.workload("/shop/till").unwrap();
    let mut claims = Claims::default();
    claims.set("evidence", ClaimValue::Text("process".into()));
    claims.set("hw_attested", ClaimValue::Bool(true));
    claims.set("level", ClaimValue::Integer(-300));
    let issuance = Issuance {
        revision: Revision(1 << 40),
        entry: Some(EntryId::parse("ent_1").unwrap()),
        agent: Some(AgentKey::of(&id)),
        required: None,
    };
    // Longer than 127 and than 255 bytes: lengths of each size are written.
    let dns_names: Vec<String> = (0..12).map(|number| format!("name-{number}.of.a.service.internal")).collect();
    let whole = LeafTemplate {
        spiffe_id: &id,
        serial: [1; 16],
        not_before,
        not_after: not_before.plus_seconds(900),
        public_key,
        dns_names: &dns_names,
        claims: &claims,
        issuance: Some(&issuance),
    };
    let none = Claims::default();
    let bare = LeafTemplate { serial: [0x80; 16], dns_names: &[], claims: &none, issuance: None, ..whole.clone() };
    let found = [ca_tbs(&ca).unwrap(), leaf_tbs(&whole, &issuer).unwrap(), leaf_tbs(&bare, &issuer).unwrap()];
    let found = found.map(|tbs| digests(&tbs));
    assert_eq!(found, BYTES);
}

/// As every release has written them.
const BYTES: [[&str; 2]; 3] = [
    [
        "1f81cd28ee3d53ac5cfce630f9ee7b39411f64781264acfdbad8c09b80553608",
        "f08b82d5020015e9cbd01eff2771f0bd1d1f055fce0a00601e90660740bb8fbe",
    ],
    [
        "a1cb083fcf5b69a0ab2dbcc0f4694971d67f690efd454272e4f41ae6511e19af",
        "857e4da04115e4ccc14070dae42462259d7b10db946f1286397b35b4c3c1a28c",
    ],
    [
        "53ce8bed858b0501d4f2d3776b33113399f9aa99306ad0574b12fb9e94264ed4",
        "19239104285a6e45dad7b8c3dafa843cbc2fc818803cf7f271adf82b61e55ffc",
    ],
];
