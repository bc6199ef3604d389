//! Clients of the server and of sidecars that tests make by hand, to do what an honest one would not.

use std::sync::Arc;

use sekisho_identity::{Bundle, csr_der, leaf_facts};
use sekisho_keys::MemoryKey;
use sekisho_net::{Dialer, ExpectedServer, Identity, TlsMaterial, TlsSource, grpc_over_tls};
use sekisho_proto::server::{IssueX509Request, ProcessEvidence, issue_x509_request::Item, node_client::NodeClient};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::spire::agent::v1::agent_client::AgentClient;
use sekisho_proto::spire::svid::v1::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient};
use sekisho_proto::{selectors_to_wire, types};
use sekisho_types::{Digest, Selector, SignatureAlgorithm, SpiffeId, UnixTime};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::{TRUST_DOMAIN, World};

/// The time where the test runs, which may be a simulated machine.
pub use sekisho_ports::now as clock;

/// Where a server runs: in a process of its own, or in this one.
pub trait Place {
    fn address(&self) -> &str;
    /// The fingerprint of its authority.
    fn authority(&self) -> Digest;
    /// Asks a verb of the command line.
    async fn ask(&self, arguments: &[&str]) -> Value;
}

impl Place for World {
    fn address(&self) -> &str {
        &self.address
    }

    fn authority(&self) -> Digest {
        let fingerprint = self.fingerprint.get_or_init(|| self.text(&["bundle", "show", "--form", "fingerprint"]));
        Digest::parse(fingerprint.lines().next().unwrap()).unwrap()
    }

    async fn ask(&self, arguments: &[&str]) -> Value {
        self.json(arguments)
    }
}

pub fn key() -> MemoryKey {
    MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).unwrap()
}

/// A TLS client of the server, with this identity or none.
pub fn client(world: &impl Place, identity: Option<&Identity>) -> Channel {
    channel_to(world.address(), TRUST_DOMAIN, world.authority(), identity)
}

/// A TLS client of a server of this trust domain.
pub fn channel_to(address: &str, trust_domain: &str, authority: Digest, identity: Option<&Identity>) -> Channel {
    let id = SpiffeId::parse(&format!("spiffe://{trust_domain}/spire/server")).unwrap();
    let bundle = Bundle::empty(id.trust_domain());
    let source = TlsSource::new(TlsMaterial::new(identity, Arc::new(bundle)).unwrap());
    let expected = ExpectedServer::Fingerprint { id, authorities: vec![authority] };
    grpc_over_tls(Dialer { source, address: address.to_owned(), expected, clock })
}

/// A TLS client of the server that shows no certificate.
pub fn stranger(world: &impl Place) -> Channel {
    client(world, None)
}

/// Attests, and returns the SVID with its key.
pub async fn attest(world: &impl Place, kind: &str, payload: &[u8]) -> Result<Identity, Status> {
    attest_at(stranger(world), kind, payload).await
}

/// The same at another server.
pub async fn attest_at(server: Channel, kind: &str, payload: &[u8]) -> Result<Identity, Status> {
    let key = key();
    let svid = attest_with(server, kind, payload, &csr_der(&key, None).unwrap()).await?;
    Ok(Identity { chain: svid.cert_chain, key: key.pkcs8().clone() })
}

/// The same with any bytes as CSR.
pub async fn attest_with(server: Channel, kind: &str, payload: &[u8], csr: &[u8]) -> Result<types::X509svid, Status> {
    use wire::attest_agent_response::Step;
    let params = wire::attest_agent_request::Params {
        data: Some(types::AttestationData { r#type: kind.into(), payload: payload.to_vec() }),
        params: Some(wire::AgentX509svidParams { csr: csr.to_vec() }),
    };
    let step = Some(wire::attest_agent_request::Step::Params(params));
    let stream = tokio_stream::iter([wire::AttestAgentRequest { step }]);
    let mut answers = AgentClient::new(server).attest_agent(stream).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.step) {
        Some(Step::Result(result)) => Ok(result.svid.unwrap()),
        other => Err(Status::unknown(format!("no result: {other:?}"))),
    }
}

/// An agent that does whatever a test wants.
pub struct Attested {
    pub id: String,
    pub identity: Identity,
    pub channel: Channel,
}

impl Attested {
    pub async fn new(world: &impl Place) -> Self {
        let made = world.ask(&["token", "create"]).await;
        let identity = attest(world, "join_token", made["token"].as_str().unwrap().as_bytes()).await.unwrap();
        let channel = client(world, Some(&identity));
        Self { id: made["agent_id"].as_str().unwrap().to_owned(), identity, channel }
    }

    /// Registers an entry for a process of this agent; its id.
    pub async fn entry(&self, world: &impl Place, path: &str) -> String {
        let id = format!("spiffe://example.org{path}");
        let create = ["entry", "create", "--spiffe-id", &id, "--parent-id", &self.id, "--selector", "unix:uid:7"];
        let made = world.ask(&create).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Asks for the SVID of an entry as an honest agent would: serial number and place in the log.
    pub async fn issue(&self, entry: &str) -> Result<(String, u64), Status> {
        self.issue_with(entry, &csr_der(&key(), None).unwrap(), &["unix:uid:7"], clock()).await
    }

    /// What a process of that entry would hold.
    pub async fn identity_of(&self, entry: &str) -> Identity {
        let key = key();
        let params = vec![NewX509svidParams { entry_id: entry.to_owned(), csr: csr_der(&key, None).unwrap() }];
        let mut server = SvidClient::new(self.channel.clone());
        let answer = server.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap();
        let svid = answer.into_inner().results.remove(0).svid.unwrap();
        Identity { chain: svid.cert_chain, key: key.pkcs8().clone() }
    }

    /// The same with any CSR, selectors and time of measuring.
    pub async fn issue_with(
        &self,
        entry: &str,
        csr: &[u8],
        selectors: &[&str],
        measured_at: UnixTime,
    ) -> Result<(String, u64), Status> {
        let selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        let evidence = ProcessEvidence {
            source: "unix/1".to_owned(),
            measured_at_ns: measured_at.nanos(),
            selectors: selectors_to_wire(&selectors),
        };
        let item = Item { entry_id: entry.to_owned(), csr: csr.to_vec(), evidence: Some(evidence), key: None };
        let answer = NodeClient::new(self.channel.clone()).issue_x509(IssueX509Request { items: vec![item] }).await?;
        let result = answer.into_inner().results.remove(0);
        let status = result.status.unwrap();
        if status.code != Code::Ok as i32 {
            return Err(Status::new(Code::from_i32(status.code), status.message));
        }
        let leaf = leaf_facts(&result.svid.unwrap().cert_chain[0]).unwrap();
        Ok((leaf.serial, result.log_index))
    }
}
