//! Dials one peer with the workload's SVID.

use std::sync::Arc;

use sekisho_identity::LeafFacts;
use sekisho_net::{Dialer, ExpectedServer, NetError, TlsConnection, TlsPeer};
use sekisho_runtime::now;
use sekisho_sdk::{CurrentIdentity, IdentitySource, RevocationKeeper};
use sekisho_types::SpiffeId;

use crate::decisions::Decider;
use crate::renewal::Renewer;
use crate::serving::REVOKED;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Revoked(String),
    /// The same failure for all who waited for one dial, or come soon after it.
    #[error(transparent)]
    Shared(Arc<DialError>),
    #[error("the connection attempt was cancelled")]
    GivenUp,
}

pub(crate) struct PeerDialer {
    /// `host:port` of the peer's sidecar.
    pub address: String,
    /// Who the peer must be.
    pub expected: SpiffeId,
    pub identity: IdentitySource,
    pub decider: Arc<Decider>,
    pub revocations: Arc<RevocationKeeper>,
}

impl PeerDialer {
    /// The identity to dial with.
    pub(crate) fn held(&self) -> Result<CurrentIdentity, DialError> {
        Ok(self.identity.held.borrow().clone().ok_or(NetError::NoIdentity)?)
    }

    /// A connection to the peer, whose SVID must not be revoked. A failure is logged and, if it says who the peer is,
    /// recorded.
    pub(crate) async fn dial(&self, alpn: &[&[u8]]) -> Result<TlsConnection, DialError> {
        self.try_dial(alpn).await.inspect_err(|error| self.log_failed_dial(error))
    }

    async fn try_dial(&self, alpn: &[&[u8]]) -> Result<TlsConnection, DialError> {
        let dialled = self.dialer().connect(alpn).await?;
        self.revocations.complete().await;
        let revoked = leaf_of(&dialled.peer).and_then(|leaf| self.revocations.find(&leaf));
        revoked.map_or(Ok(dialled), |why| Err(DialError::Revoked(why)))
    }

    fn dialer(&self) -> Dialer {
        let expected = ExpectedServer::Id(self.expected.clone());
        Dialer { source: self.identity.tls.clone(), address: self.address.clone(), expected, clock: now }
    }

    /// Keeps a connection open over rotations while both ends prove who they are.
    pub(crate) fn renewer(
        &self,
        peer: &TlsPeer,
        held: &CurrentIdentity,
        protocols: &'static [&'static [u8]],
    ) -> Renewer {
        let leaf = leaf_of(peer);
        let theirs = leaf.as_ref().map(|leaf| leaf.not_after);
        Renewer {
            dialer: self.dialer(),
            protocols,
            held: self.identity.held.clone(),
            revocations: self.revocations.clone(),
            leaf,
            own: held.spiffe_id.clone(),
            key: peer.renewal,
            ends: theirs.map_or(held.not_after, |theirs| theirs.min(held.not_after)),
        }
    }

    /// A peer that answers as another, or with a bad SVID, is recorded as refused; one that does not answer is not.
    fn log_failed_dial(&self, error: &DialError) {
        let expected = &self.expected;
        tracing::warn!(peer = %expected, %error, "the peer cannot be dialled");
        if let DialError::Revoked(why) = error {
            self.decider.refuse(REVOKED, &expected.to_string(), why);
        }
        if let DialError::Net(NetError::Handshake { .. } | NetError::Peer(_)) = error {
            self.decider.refuse("peer", &expected.to_string(), &error.to_string());
        }
    }
}

pub(crate) fn leaf_of(peer: &TlsPeer) -> Option<LeafFacts> {
    peer.leaf.as_ref().map(|leaf| leaf.get().clone())
}
