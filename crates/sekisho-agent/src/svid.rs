//! The SVIDs that an agent has: its own, and those that it keeps for processes.

use std::sync::Arc;

use sekisho_evidence::node::HardwareKey;
use sekisho_identity::Bundle;
use sekisho_net::{Identity, NetError, TlsMaterial};
use sekisho_types::{Digest, EntryId, Secret, SpiffeId, UnixTime};

/// An SVID held for a process, with when to renew it.
#[derive(Clone)]
pub(crate) struct CachedSvid {
    pub spiffe_id: SpiffeId,
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    pub key: HeldKey,
    pub not_after: UnixTime,
    pub renew_at: UnixTime,
    pub hint: String,
    pub log_index: u64,
    /// Of the entry as it stood when this was issued.
    pub entry_revision: i64,
}

impl CachedSvid {
    /// The private key, in PKCS #8, if it can be given to its process.
    pub(crate) const fn deliverable_key(&self) -> Option<&Secret<Vec<u8>>> {
        match &self.key {
            HeldKey::Memory(key) => Some(key),
            HeldKey::Hardware(_) => None,
        }
    }
}

/// Names a key in the TPM to the sidecar that signs with it: the SHA-256 of the public key.
pub(crate) type KeyId = Digest;

/// Which SVIDs may be shared: those of one entry for processes of equal measurement.
pub(crate) type SvidKey = (EntryId, Digest);

/// The private key of an SVID.
#[derive(Clone)]
pub(crate) enum HeldKey {
    /// PKCS #8.
    Memory(Secret<Vec<u8>>),
    Hardware(HardwareKey),
}

impl HeldKey {
    pub(crate) const fn is_in_hardware(&self) -> bool {
        matches!(self, Self::Hardware(_))
    }
}

/// The agent's own SVID.
#[derive(Clone)]
pub(crate) struct AgentSvid {
    pub id: SpiffeId,
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    pub key: HeldKey,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
}

impl AgentSvid {
    /// What connections to the server show and trust.
    pub(crate) fn tls(&self, bundle: Arc<Bundle>) -> Result<TlsMaterial, NetError> {
        match &self.key {
            HeldKey::Memory(key) => {
                TlsMaterial::new(Some(&Identity { chain: self.chain.clone(), key: key.clone() }), bundle)
            }
            HeldKey::Hardware(key) => TlsMaterial::signing(&self.chain, key.signer.clone(), bundle),
        }
    }
}
