//! A key that is in the TPM of the node: the agent signs with it.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use sekisho_proto::node::{SignRequest, SignResponse, sidecar_client::SidecarClient};
use sekisho_types::{SignError, SignatureAlgorithm, Signer};
use tokio::runtime::Handle;
use tonic::Status;

use crate::agent::AgentChannel;

/// The agent gives up before that.
const LONGEST: Duration = Duration::from_secs(15);

/// The key of a delegated SVID. Each signature is asked for, so it waits: TLS uses it on a thread of its own.
pub(crate) struct AgentKey {
    agent: AgentChannel,
    /// As the agent names the key.
    name: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    public_key: Vec<u8>,
    /// Where the call to the agent runs, while a thread waits for it.
    runtime: Handle,
}

impl AgentKey {
    pub(crate) fn new(agent: AgentChannel, name: Vec<u8>, public_key: Vec<u8>) -> Self {
        Self { agent, name, public_key, runtime: Handle::current() }
    }
}

impl Signer for AgentKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaP256Sha256
    }

    fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let request = SignRequest { signing_key: self.name.clone(), content: message.to_vec() };
        let mut agent = SidecarClient::new(self.agent.clone());
        let (to, answer) = sync_channel::<Result<SignResponse, Status>>(1);
        self.runtime.spawn(async move {
            let signed = agent.sign(request).await;
            let _late = to.send(signed.map(tonic::Response::into_inner));
        });
        let refused = |why: &str| SignError(format!("the agent signs no handshake: {why}"));
        match answer.recv_timeout(LONGEST) {
            Ok(Ok(SignResponse { signature })) => Ok(signature),
            Ok(Err(status)) => {
                tracing::warn!(code = ?status.code(), reason = status.message(), "the agent signed no handshake");
                Err(refused(status.message()))
            }
            Err(_late) => Err(refused("it did not answer in time")),
        }
    }
}
