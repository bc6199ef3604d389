//! What the agent knows and holds: each part with one owner.

use sekisho_disk::DiskError;
use sekisho_runtime::metrics::Metrics;

use crate::cache::{Cache, Stored};
use crate::delegations::Delegations;
use crate::host::Host;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::server_state::SharedServerState;
use crate::svid_cache::SvidCache;
use crate::upstream::Upstream;

pub(crate) struct Core {
    pub upstream: Upstream,
    pub server_state: SharedServerState,
    pub svids: SvidCache,
    pub cache: Cache,
    pub host: Host,
    pub limits: Limits,
    pub journal: Journal,
    pub delegations: Delegations,
    pub metrics: Metrics,
}

impl Core {
    /// Writes all that a restart needs (law L14).
    pub(crate) fn save(&self) -> Result<(), DiskError> {
        let mut revision = 0;
        self.cache.store(|| {
            // The SVIDs before the state: none is kept without the policy that it requires.
            let (own, held) = (self.upstream.own(), self.svids.all().into_iter().collect());
            let server_state = self.server_state.read(Clone::clone);
            revision = server_state.revision;
            Stored { own, held, server_state }
        })?;
        self.server_state.keep(revision);
        Ok(())
    }
}
