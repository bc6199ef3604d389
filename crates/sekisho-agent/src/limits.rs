//! What one process, and one user's processes, may use up.

use std::sync::Arc;

use sekisho_net::Slots;

use crate::streams::Streams;
use crate::user_budgets::UserBudgets;

/// Handshakes that wait for the TPM: of all sidecars, and of one. At a tenth of a second each, the last of one sidecar
/// waits for three seconds.
const SIGNATURES: (usize, usize) = (256, 32);

pub(crate) struct Limits {
    /// What one user's processes may ask the server for.
    pub user_budgets: UserBudgets,
    pub streams: Streams,
    /// Handshakes that wait for the TPM, by sidecar.
    pub signatures: Arc<Slots<i32>>,
    /// Held while the TPM signs a handshake.
    pub tpm_turn: Arc<tokio::sync::Mutex<()>>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let (all, of_one) = SIGNATURES;
        Self {
            user_budgets: UserBudgets::new(),
            streams: Streams::default(),
            signatures: Slots::new(all, of_one),
            tpm_turn: Arc::default(),
        }
    }
}
