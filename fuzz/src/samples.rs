//! Well-formed inputs to begin from, made by our own writers with keys made here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sekisho_events::{AttestationId, Attested, Leaf, Personal, Receipt, Subject, openings_of};
use sekisho_identity::{
    AgentKey, Bundle, CaTemplate, Issuance, Issuer, JwtAuthority, LeafTemplate, assemble_certificate, bundle_to_jwks,
    ca_tbs, csr_der, leaf_tbs,
};
use sekisho_keys::MemoryKey;
use sekisho_ledger::{Checkpoint, Frontier, NoteSigner, leaf_hash};
use sekisho_policy::{RequestInput, SubjectInput};
use sekisho_types::{
    ClaimValue, Claims, EntryId, Revision, SignatureAlgorithm, Signer, SpiffeId, TrustDomain, UnixTime,
};

pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_790_000_000);

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("fuzz.internal").unwrap()
}

pub(crate) fn workload() -> SpiffeId {
    SpiffeId::parse("spiffe://fuzz.internal/svc/gateway").unwrap()
}

fn issuance() -> Issuance {
    let agent = SpiffeId::parse("spiffe://fuzz.internal/spire/agent/one").unwrap();
    let (entry, agent) = (EntryId::parse("ent_1").ok(), Some(AgentKey::of(&agent)));
    Issuance { revision: Revision(7), entry, agent, required: Some(Revision(6)) }
}

/// An authority, a leaf below it, and what else is signed by keys that targets know.
pub(crate) struct Authority {
    pub ca: Vec<u8>,
    pub leaf: Vec<u8>,
    /// The leaf's, in PKCS #8.
    pub key: Vec<u8>,
    pub csr: Vec<u8>,
    pub bundle: Bundle,
    pub jwks: Vec<u8>,
    pub token: String,
    pub token_key: sekisho_jose::TokenKey,
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let name = trust_domain();
    let template = CaTemplate {
        trust_domain: &name,
        serial: [1; 16],
        not_before: NOW.plus_seconds(-60),
        not_after: NOW.plus_seconds(3600),
        public_key: key.public_key_der(),
    };
    let tbs = ca_tbs(&template).unwrap();
    let ca = assemble_certificate(&tbs, key.algorithm(), &key.sign(&tbs).unwrap()).unwrap();
    let leaf_key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let tbs = leaf_tbs(
        &LeafTemplate {
            spiffe_id: &workload(),
            serial: [2; 16],
            not_before: NOW.plus_seconds(-10),
            not_after: NOW.plus_seconds(900),
            public_key: leaf_key.public_key_der(),
            dns_names: &["gateway.internal".to_owned()],
            claims: &claims(),
            issuance: Some(&issuance()),
        },
        &Issuer::of(&template).unwrap(),
    );
    let tbs = tbs.unwrap();
    let leaf = assemble_certificate(&tbs, key.algorithm(), &key.sign(&tbs).unwrap()).unwrap();
    let mut bundle = Bundle::empty(name);
    bundle.add_x509(ca.clone()).unwrap();
    let key_id = "k1".to_owned();
    let public_key = key.public_key_der().to_vec();
    bundle.jwt_authorities.push(JwtAuthority {
        key_id: key_id.clone(),
        public_key: public_key.clone(),
        expires_at: None,
        tainted: false,
    });
    let audience = ["ledger".to_owned()];
    let input = sekisho_jose::signing_input(&sekisho_jose::Mint {
        key_id: &key_id,
        subject: &workload(),
        audience: &audience,
        issued_at: NOW,
        expires_at: NOW.plus_seconds(300),
        jti: Some("t1"),
        own_claim: None,
    });
    let token = sekisho_jose::token(&input, &key.sign(input.as_bytes()).unwrap()).unwrap();
    Authority {
        key: leaf_key.pkcs8().expose().clone(),
        csr: csr_der(&leaf_key, Some(&workload())).unwrap(),
        jwks: bundle_to_jwks(&bundle).to_string().into_bytes(),
        token_key: sekisho_jose::TokenKey { key_id, public_key },
        ca,
        leaf,
        bundle,
        token,
    }
});

pub(crate) fn claims() -> Claims {
    let mut claims = Claims::default();
    claims.set("evidence", ClaimValue::Text("process".to_owned()));
    claims.set("hw_attested", ClaimValue::Bool(false));
    claims.set("level", ClaimValue::Integer(3));
    claims
}

/// A log of one leaf: its key, checkpoint and receipt.
pub(crate) struct Log {
    pub leaf: Vec<u8>,
    pub checkpoint: String,
    pub policy: String,
    pub receipt: String,
}

pub(crate) static LOG: LazyLock<Log> = LazyLock::new(|| {
    let key = MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap();
    let signer = NoteSigner::new("fuzz.internal/log", &key).unwrap();
    let event = Attested {
        agent: Personal::new(workload(), [7; 32]),
        attestor: "join_token".to_owned(),
        boot_image: None,
        boot_policy_sha256: None,
        evidence_sha256: None,
        id: AttestationId::new([1; 16]),
        tls_group: "X25519MLKEM768".to_owned(),
    };
    let encoded = Leaf::new(trust_domain(), NOW, event).encode().unwrap();
    let (leaf, openings) = (encoded.leaf, openings_of(&encoded.side).unwrap());
    let mut frontier = Frontier::default();
    frontier.push(leaf_hash(&leaf), |_, _, _| {});
    let checkpoint = Checkpoint { origin: "fuzz.internal/log".to_owned(), size: 1, root: frontier.root() };
    let checkpoint = signer.sign(&checkpoint.to_string()).unwrap();
    let subject = Subject::Leaf { openings };
    let receipt = Receipt { leaf: leaf.clone(), subject, index: 0, path: vec![], checkpoint: checkpoint.clone() };
    Log { leaf, policy: format!("log {}\nquorum none\n", signer.key()), receipt: receipt.to_string(), checkpoint }
});

/// A request whose parts are chosen by bytes, for comparing two ways of deciding.
pub(crate) fn request(choice: &[u8]) -> RequestInput {
    let pick = |at: usize, of: &[&str]| {
        let byte = choice.get(at).copied().unwrap_or_default();
        of[usize::from(byte) % of.len()].to_owned()
    };
    let mut headers = BTreeMap::new();
    headers.insert("x-region".to_owned(), pick(0, &["eu", "us", "", "EU", "é"]));
    if choice.get(1).is_some_and(|b| b % 2 == 0) {
        headers.insert("x-role".to_owned(), pick(2, &["admin", "viewer", "false"]));
    }
    let mut claims = Claims::default();
    match choice.get(3).map(|b| b % 4) {
        Some(0) => claims.set("hw_attested", ClaimValue::Bool(true)),
        Some(1) => claims.set("hw_attested", ClaimValue::Bool(false)),
        Some(2) => claims.set("hw_attested", ClaimValue::Text("true".into())),
        _ => {}
    }
    claims.set("level", ClaimValue::Integer(i64::from(choice.get(4).copied().unwrap_or_default()) - 128));
    RequestInput {
        method: pick(5, &["GET", "POST", "DELETE", "get"]),
        query: pick(9, &["", "a=b"]),
        path: vec![pick(6, &["v1", "v2", "admin", ""]), pick(7, &["transactions", "accounts", "%20"])],
        headers,
        subject: std::sync::Arc::new(SubjectInput {
            spiffe_id: workload(),
            claims,
            issued_at: NOW.plus_seconds(-i64::from(choice.get(8).copied().unwrap_or_default())),
        }),
        destination: SpiffeId::parse("spiffe://fuzz.internal/svc/transactions").unwrap(),
        request_id: "r1".to_owned(),
    }
}
