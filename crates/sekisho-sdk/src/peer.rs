use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use sekisho_identity::LeafFacts;
use sekisho_net::{NetError, TlsPeer};
use sekisho_types::{SpiffeId, Verified};

/// The other end of a connection, by its verified SVID.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    svid: Arc<Verified<LeafFacts>>,
}

impl Peer {
    pub(crate) fn of(peer: TlsPeer) -> Result<Self, NetError> {
        Ok(Self { address: peer.address, svid: Arc::new(peer.leaf.ok_or(NetError::NoPeer)?) })
    }

    /// Its identity.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.svid().spiffe_id
    }

    /// The serial number of its SVID, in hexadecimal digits; another one after each rotation.
    pub fn serial(&self) -> &str {
        &self.svid().serial
    }

    /// All that its SVID says: when it expires, and the claims of its attestation.
    pub fn svid(&self) -> &LeafFacts {
        self.svid.get()
    }
}

/// The identity and the serial number.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} serial {}", self.spiffe_id(), self.serial())
    }
}
