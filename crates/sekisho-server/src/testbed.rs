//! A trust domain for tests in this crate: its state in memory, its log in a folder that goes with the test. Calls pass
//! the same door as those of peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::http::Extensions;
use sekisho_disk::{Ledger, Segments};
use sekisho_events::{Event, Leaf, Refused, RotationFailed};
use sekisho_evidence::{Evidence, process_evidence};
use sekisho_identity::{AgentKey, Entry, Issuance, LeafFacts, csr_der};
use sekisho_keys::MemoryKey;
use sekisho_net::{TlsPeer, UnixPeer};
use sekisho_runtime::{Stop, Tasks, now};
use sekisho_store::{MemoryStore, Store};
use sekisho_types::{Claims, EntryId, Selector, SignatureAlgorithm, SpiffeId, TrustDomain, Verified};

use crate::anchors::Anchors;
use crate::authorities::Authorities;
use crate::caller::{AgentCaller, Operator};
use crate::commands::{
    Admitted as Node, AnsweringNode, Attest, AttestError, AttestingNode, CreateEntries, CreateToken, Opening,
};
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::domain::{Domain, Identity, Limits, Log, Retention, ServerMonitor, Settings, Shared, Streams};
use crate::evidence_folder::EvidenceFolder;
use crate::executor::{Admitted, Call, Connection, admit};
use crate::final_check::PendingAnswers;
use crate::followers::Followers;
use crate::health::Health;
use crate::outbox::Outbox;
use crate::refusal::Refusal;
use crate::roles::Role;
use crate::rollback::RollbackDetector;
use crate::trusted_time::TrustedTime;
use crate::view::View;
use crate::{drain, rotation};

/// The entry that makes its holder an operator.
pub(crate) const ADMIN: &str = "ent_admin";

pub(crate) struct Testbed {
    pub domain: Shared,
    pub store: Arc<MemoryStore>,
    _folder: tempfile::TempDir,
}

impl Testbed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = TrustDomain::parse("example.org").unwrap();
        let store = Arc::new(MemoryStore::default());
        let keys = folder.path().join("keys");
        sekisho_disk::private_folder(&keys).unwrap();
        let authorities = Authorities::load(&name, &sekisho_store::ServerId::local(), &keys, vec![]).unwrap();
        let key = Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
        let (ledger, _) = Ledger::open(&folder.path().join("ledger"), "example.org/test", key).unwrap();
        let decisions = Segments::open(&folder.path().join("decisions"), 64 << 20).unwrap();
        let bundle = authorities.bundle(0).unwrap();
        let (view, id) = (Arc::new(View::new(bundle)), name.workload("/spire/server").unwrap());
        let domain = Arc::new(Domain {
            identity: Identity { server_id: id.clone(), name, authorities },
            settings: settings(),
            store: store.clone(),
            view: view.clone(),
            log: Log {
                ledger,
                decisions,
                evidence: EvidenceFolder::open(folder.path()).unwrap(),
                witnesses: None,
                recording: std::array::from_fn(|_| Arc::default()),
                logged_before: BTreeMap::new(),
                outbox: Outbox::new(),
                log_time: 0.into(),
            },
            limits: Limits::new(),
            streams: Streams {
                delivery: Delivery::new(view, id),
                pending_answers: PendingAnswers::new(),
                state_checks: Default::default(),
                alerts: Default::default(),
                followers: Followers::new(),
                rollback: RollbackDetector::new(Default::default()),
                policy_in_force: Mutex::new(BTreeMap::new()),
                revocations_applied: Mutex::default(),
            },
            watch: ServerMonitor {
                tasks: Tasks::new(Stop::new()),
                health: Health::new(),
                counters: Counters::default(),
                metrics: Default::default(),
                scrub: Arc::default(),
                trusted_time: TrustedTime::new(None, now()),
                policy_folder_refused: Mutex::default(),
            },
        });
        let viewed = Arc::downgrade(&domain);
        store.observe(Box::new(move |delta| {
            viewed.upgrade().unwrap().streams.delivery.committed(delta);
        }));
        rotation::rotate(&domain, now()).await.unwrap();
        Self { domain, store, _folder: folder }
    }

    /// Everything that is on record by now, opened.
    pub(crate) async fn recorded(&self) -> Vec<Event> {
        drain::drain_outbox(&self.domain).await.unwrap();
        let log = &self.domain.log.ledger;
        // A checkpoint that covers a leaf of ours covers all before it.
        let last = self.domain.journal().append(RotationFailed {}).await.unwrap();
        let (size, _) = log.checkpoint_covering(last).await.unwrap();
        let entries = (0..size.div_ceil(256)).flat_map(|number| log.bundle(number, size).unwrap());
        let events = entries.map(|entry| Leaf::decode_with_side(&entry.leaf, &entry.side).unwrap().event);
        events.filter(|event| !matches!(event, Event::RotationFailed(_))).collect()
    }

    pub(crate) async fn refusals(&self) -> Vec<Refused> {
        let refused = |event| match event {
            Event::Refused(refused) => Some(refused),
            _ => None,
        };
        self.recorded().await.into_iter().filter_map(refused).collect()
    }

    /// An operator on the local socket.
    pub(crate) async fn operator(&self) -> Call<Operator> {
        let mut extensions = Extensions::new();
        let root = UnixPeer { pid: 1, uid: 0, gid: 0, pidfd: None, socket: (0, 0) };
        extensions.insert(Operator::on_socket(&root, 0).unwrap());
        match self.admitted(&extensions, Role::Operator).await {
            Ok(Admitted::Operator(call)) => call,
            other => panic!("{:?}", other.err()),
        }
    }

    pub(crate) async fn admitted(
        &self,
        extensions: &Extensions,
        role: Role,
    ) -> Result<Admitted, Refusal<crate::denied::Denied>> {
        admit(&Connection::of(&self.domain, extensions), role).await
    }

    /// A call of anyone, over TLS.
    pub(crate) async fn stranger(&self) -> Call<()> {
        match self.admitted(&over_tls(None), Role::Anyone).await {
            Ok(Admitted::Anyone(call)) => call,
            other => panic!("{:?}", other.err()),
        }
    }

    pub(crate) async fn token(&self, agent: &str) -> String {
        let command = CreateToken { agent: Some(agent.to_owned()), token: None, ttl_seconds: 600 };
        self.operator().await.execute(command).await.unwrap().token
    }

    /// A node that shows this token.
    pub(crate) async fn attest(&self, token: &str) -> Result<Node, AttestError> {
        let node = Joins { token: token.to_owned(), csr: csr() };
        let attest = Attest { node, address: [127, 0, 0, 1].into(), exporter: [7; 32], tls_group: "X25519".into() };
        self.stranger().await.execute(attest).await.map_err(Refusal::into_error)
    }

    /// Attests an agent, and what it shows from then on.
    pub(crate) async fn joined(&self, name: &str) -> LeafFacts {
        facts(&self.attest(&self.token(name).await).await.unwrap_or_else(|error| panic!("{error}")))
    }

    /// What an operator shows that has its SVID by the entry [`ADMIN`] from this agent.
    pub(crate) async fn admin(&self, host: &LeafFacts) -> LeafFacts {
        let entry = Entry { admin: true, ..entry(ADMIN, "/admin", &host.spiffe_id) };
        let (id, spiffe_id) = (entry.id.clone(), entry.spiffe_id.clone());
        self.operator()
            .await
            .execute_all(CreateEntries { entries: vec![entry] })
            .await
            .map_err(Refusal::into_error)
            .unwrap();
        let revision = self.domain.view.read(|state| state.revision);
        let agent = Some(AgentKey::of(&host.spiffe_id));
        let issuance = Issuance { revision, entry: Some(id), agent, required: None };
        LeafFacts { spiffe_id, serial: "ad01".into(), issuance: Some(issuance), ..host.clone() }
    }

    /// A call of an operator that shows this SVID.
    pub(crate) async fn remote_operator(&self, shown: &LeafFacts) -> Call<Operator> {
        match self.admitted(&over_tls(Some(shown.clone())), Role::Operator).await {
            Ok(Admitted::Operator(call)) => call,
            other => panic!("{:?}", other.err()),
        }
    }

    /// A call of an agent that shows this SVID.
    pub(crate) async fn agent(&self, shown: &LeafFacts) -> Call<AgentCaller> {
        match self.admitted(&over_tls(Some(shown.clone())), Role::Agent).await {
            Ok(Admitted::Agent(call)) => call,
            other => panic!("{:?}", other.err()),
        }
    }
}

pub(crate) fn over_tls(leaf: Option<LeafFacts>) -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Arc::new(TlsPeer {
        address: SocketAddr::from(([127, 0, 0, 1], 4000)),
        leaf: leaf.map(Verified::assertion),
        group: "X25519".into(),
        exporter: [7; 32],
        renewal: [8; 32],
        protocol: vec![],
    }));
    extensions
}

/// What the SVID of a node that was admitted says.
pub(crate) fn facts(node: &Node) -> LeafFacts {
    LeafFacts {
        spiffe_id: node.issued.spiffe_id.clone(),
        not_before: now(),
        not_after: node.issued.not_after,
        serial: node.issued.identity.serial.clone(),
        claims: Claims::default(),
        issuance: None,
        public_key: vec![],
    }
}

pub(crate) fn csr() -> Vec<u8> {
    csr_der(&MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap(), None).unwrap()
}

/// What an agent measured just now of a process of user 7.
pub(crate) fn measured() -> Option<Evidence> {
    Some(process_evidence("unix/1", now(), [selector()].into()).unwrap())
}

fn selector() -> Selector {
    Selector::parse("unix:uid:7").unwrap()
}

/// An entry for processes of user 7 on the node `parent`.
pub(crate) fn entry(id: &str, path: &str, parent: &SpiffeId) -> Entry {
    Entry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
        parent_id: parent.clone(),
        selectors: [selector()].into(),
        x509_ttl_seconds: 0,
        jwt_ttl_seconds: 0,
        federates_with: Default::default(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: vec![],
        revision_number: 0,
        store_svid: false,
        hint: String::new(),
        created_at: now(),
        disable_x509_prefetch: false,
        jwt_include_jti: false,
        tpm_key: false,
    }
}

/// A node that joins by token.
pub(crate) struct Joins {
    pub token: String,
    pub csr: Vec<u8>,
}

impl AttestingNode for Joins {
    async fn opening(&mut self) -> Result<Opening, AttestError> {
        let Self { token, csr } = self;
        Ok(Opening { attestor: "join_token".into(), payload: token.clone().into(), csr: csr.clone() })
    }
}

impl AnsweringNode for Joins {
    async fn answer(&mut self, _challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::Gone)
    }
}

fn settings() -> Settings {
    Settings {
        socket: "api.sock".into(),
        policy_folder: None,
        publish_log: false,
        alert_webhook: false,
        ca_ttl_seconds: 86_400,
        x509_ttl_seconds: 900,
        jwt_ttl_seconds: 300,
        agent_ttl_seconds: 14_400,
        attest_every_seconds: 300,
        tpm_approval: false,
        retention: Retention { decisions_days: 90, ended_days: 30, openings_days: None },
        anchors: Anchors::default(),
        boot_policy: None,
    }
}
