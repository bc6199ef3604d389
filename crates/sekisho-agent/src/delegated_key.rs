//! Keys in the TPM with which sidecars sign.

use std::sync::Arc;

use sekisho_host::{Measurement, Process};
use sekisho_types::Signer;

use crate::caller::Caller;
use crate::svid::{CachedSvid, KeyId};

/// The key of an SVID that is delegated, and what its use depends on.
pub(crate) struct DelegatedKey {
    pub id: KeyId,
    pub signer: Arc<dyn Signer>,
    pub svid: Arc<CachedSvid>,
    pub borrower: Arc<Caller>,
    pub workload: Arc<Process>,
    pub measured: Measurement,
}
