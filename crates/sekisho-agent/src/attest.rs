//! First contact: whom to trust, and how this node proves itself.

use std::sync::Arc;

use sekisho_evidence::node::{HardwareKey, NodeProof, Session};
use sekisho_identity::{Bundle, csr_der};
use sekisho_keys::MemoryKey;
use sekisho_net::{
    Dialer, ExpectedServer, TlsMaterial, TlsSource, certificates_from_pem, grpc_over_one, grpc_over_tls,
};
use sekisho_proto::spire::agent::v1 as wire;
use sekisho_proto::spire::agent::v1::agent_client::AgentClient;
use sekisho_proto::spire::bundle::v1::{GetBundleRequest, bundle_client::BundleClient};
use sekisho_proto::{bundle_from_wire, id_from_wire, types};
use sekisho_runtime::{now, random_bytes};
use sekisho_types::{SignatureAlgorithm, Signer, SpiffeId};
use tonic::transport::Channel;

use crate::config::AgentArgs;
use crate::error::AgentError;
use crate::svid::{AgentSvid, HeldKey};

/// The server's bundle for the first contact: from a file, or fetched from the server that a fingerprint names.
pub(crate) async fn bootstrap_bundle(args: &AgentArgs) -> Result<Bundle, AgentError> {
    let mut bundle = Bundle::empty(args.trust_domain.clone());
    if let Some(path) = &args.trust_bundle {
        let file = |source| AgentError::File { path: path.display().to_string(), source };
        for der in certificates_from_pem(&std::fs::read(path).map_err(file)?) {
            bundle.add_x509(der).map_err(|e| AgentError::Bundle(e.to_string()))?;
        }
        return if bundle.x509_authorities.is_empty() {
            Err(AgentError::Bundle("no certificate in the file".into()))
        } else {
            Ok(bundle)
        };
    }
    let authorities: Vec<_> = args.fingerprint.iter().flat_map(|some| some.0.iter().copied()).collect();
    if authorities.is_empty() {
        return Err(AgentError::NoTrust);
    }
    let source = TlsSource::new(TlsMaterial::new(None, Arc::new(bundle))?);
    let expected = ExpectedServer::Fingerprint { id: server_id(args)?, authorities };
    let channel = grpc_over_tls(Dialer { source, address: args.server.clone(), expected, clock: now });
    fetch_bundle(channel).await
}

pub(crate) async fn fetch_bundle(server: Channel) -> Result<Bundle, AgentError> {
    let answer = BundleClient::new(server).get_bundle(GetBundleRequest { output_mask: None }).await;
    bundle_from_wire(&answer?.into_inner()).map_err(|e| AgentError::Bundle(e.to_string()))
}

pub(crate) fn server_id(args: &AgentArgs) -> Result<SpiffeId, AgentError> {
    args.trust_domain.workload("/spire/server").map_err(|e| AgentError::Bundle(e.to_string()))
}

/// How the server is dialled, with the SVID in force.
pub(crate) fn dialer(tls: &TlsSource, args: &AgentArgs) -> Result<Dialer, AgentError> {
    let expected = ExpectedServer::Id(server_id(args)?);
    Ok(Dialer { source: tls.clone(), address: args.server.clone(), expected, clock: now })
}

/// A new channel to the server.
pub(crate) fn dial(tls: &TlsSource, args: &AgentArgs) -> Result<Channel, AgentError> {
    dialer(tls, args).map(grpc_over_tls)
}

/// Attests over a connection of its own, and returns the agent's SVID.
pub(crate) async fn attest(server: &Dialer, proof: Arc<dyn NodeProof>) -> Result<AgentSvid, AgentError> {
    let (server, peer) = grpc_over_one(server).await?;
    let key = new_key(&proof).await?;
    let signer = key.signer();
    let proving = Proving { proof: proof.clone(), exporter: peer.exporter, public_key: signer.public_key_der().into() };
    let payload = proving.message(None).await?;
    let params = wire::attest_agent_request::Params {
        data: Some(types::AttestationData { r#type: proof.class().name.to_owned(), payload }),
        params: Some(wire::AgentX509svidParams { csr: csr(signer.clone()).await? }),
    };
    let (to, requests) = tokio::sync::mpsc::channel(2);
    let step = |step| wire::AttestAgentRequest { step: Some(step) };
    let lost = |_| AgentError::Answer("the connection was lost");
    to.send(step(wire::attest_agent_request::Step::Params(params))).await.map_err(lost)?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = AgentClient::new(server).attest_agent(stream).await?.into_inner();
    loop {
        use wire::attest_agent_response::Step;
        match answers.message().await?.and_then(|answer| answer.step) {
            Some(Step::Result(result)) => return own_svid(result.svid, key.held()),
            Some(Step::Challenge(challenge)) => {
                let answer = proving.message(Some(challenge)).await?;
                to.send(step(wire::attest_agent_request::Step::ChallengeResponse(answer))).await.map_err(lost)?;
            }
            None => return Err(AgentError::Answer("the server closed the attestation without a result")),
        }
    }
}

/// The key for which an SVID is asked.
enum NewKey {
    Memory(Arc<MemoryKey>),
    Hardware(HardwareKey),
}

impl NewKey {
    fn signer(&self) -> Arc<dyn Signer> {
        match self {
            Self::Memory(key) => key.clone(),
            Self::Hardware(key) => key.signer.clone(),
        }
    }

    fn held(&self) -> (HeldKey, Vec<u8>) {
        let key = match self {
            Self::Memory(key) => HeldKey::Memory(key.pkcs8().clone()),
            Self::Hardware(key) => HeldKey::Hardware(key.clone()),
        };
        (key, self.signer().public_key_der().to_vec())
    }
}

/// The key is in the hardware that proves the node, if it holds keys.
async fn new_key(proof: &Arc<dyn NodeProof>) -> Result<NewKey, AgentError> {
    let proof = proof.clone();
    match sekisho_runtime::blocking(move || proof.key()).await.map_err(|_| AgentError::ProofStopped)?? {
        Some(key) => Ok(NewKey::Hardware(key)),
        None => memory_key(),
    }
}

fn memory_key() -> Result<NewKey, AgentError> {
    Ok(NewKey::Memory(Arc::new(MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256)?)))
}

async fn csr(signer: Arc<dyn Signer>) -> Result<Vec<u8>, AgentError> {
    let signed = sekisho_runtime::blocking(move || csr_der(signer.as_ref(), None)).await;
    Ok(signed.map_err(|_| AgentError::ProofStopped)??)
}

/// A proof, and the connection and key that it is bound to.
pub(crate) struct Proving {
    pub proof: Arc<dyn NodeProof>,
    pub exporter: [u8; 32],
    pub public_key: Arc<[u8]>,
}

impl Proving {
    /// The first message, or the answer to a challenge. A TPM may take a second for it.
    pub(crate) async fn message(&self, challenge: Option<Vec<u8>>) -> Result<Vec<u8>, AgentError> {
        let Self { proof, exporter, public_key } = self;
        let (proof, exporter, public_key) = (proof.clone(), *exporter, public_key.clone());
        let work = move || {
            let session = Session::new(exporter, &public_key, &random_bytes);
            match challenge {
                Some(challenge) => proof.answer(&challenge, &session),
                None => proof.payload(&session),
            }
        };
        Ok(sekisho_runtime::blocking(work).await.map_err(|_| AgentError::ProofStopped)??)
    }
}

/// Renews the agent's SVID with a new key.
pub(crate) async fn renew(server: Channel) -> Result<AgentSvid, AgentError> {
    let key = memory_key()?;
    let params = wire::AgentX509svidParams { csr: csr_der(key.signer().as_ref(), None)? };
    let answer = AgentClient::new(server).renew_agent(wire::RenewAgentRequest { params: Some(params) }).await?;
    own_svid(answer.into_inner().svid, key.held())
}

fn own_svid(svid: Option<types::X509svid>, (key, public_key): (HeldKey, Vec<u8>)) -> Result<AgentSvid, AgentError> {
    let svid = svid.ok_or(AgentError::Answer("the answer has no SVID"))?;
    let leaf = svid.cert_chain.first().ok_or(AgentError::Answer("the SVID has no certificate"))?;
    let facts = sekisho_identity::leaf_facts(leaf).map_err(|_| AgentError::Answer("the SVID is not one"))?;
    let id = id_from_wire(svid.id.as_ref(), "id").map_err(|_| AgentError::Answer("the SVID has no ID"))?;
    if facts.public_key != public_key || facts.spiffe_id != id {
        return Err(AgentError::Answer("the SVID is for another key or another ID"));
    }
    Ok(AgentSvid { id, chain: svid.cert_chain, key, not_before: facts.not_before, not_after: facts.not_after })
}
