//! One trust domain on this server: its authorities, state, log and limits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sekisho_disk::Ledger;
use sekisho_store::Store;
use sekisho_types::{SpiffeId, TrustDomain};

use crate::authorities::Authorities;
use crate::limits::PeerLimits;
use crate::view::View;

pub(crate) struct Domain {
    pub name: TrustDomain,
    /// The server's own SPIFFE ID.
    pub server_id: SpiffeId,
    pub store: Store,
    pub ledger: Ledger,
    pub authorities: Authorities,
    pub view: View,
    pub settings: Settings,
    pub attestations: PeerLimits,
    pub refusals: PeerLimits,
    /// Records are taken one batch at a time, so that a repeated batch is seen as one.
    pub recording: tokio::sync::Mutex<()>,
    /// The policy revision that each sidecar runs, as its agent reported it.
    pub policy_in_force: Mutex<BTreeMap<String, u64>>,
}

pub(crate) struct Settings {
    pub ca_ttl_seconds: u32,
    pub x509_ttl_seconds: u32,
    pub jwt_ttl_seconds: u32,
    pub agent_ttl_seconds: u32,
    pub keep_decisions: u64,
    /// DER certificates that attest nodes.
    pub x509pop_roots: Vec<Vec<u8>>,
}

pub(crate) type Shared = Arc<Domain>;
