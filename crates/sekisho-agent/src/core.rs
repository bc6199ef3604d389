//! What the agent knows and holds: each part with one owner.

use sekisho_disk::DiskError;
use sekisho_runtime::metrics::Metrics;

use crate::cache::Cache;
use crate::delegations::Delegations;
use crate::held::Held;
use crate::host::Host;
use crate::journal::Journal;
use crate::known::Knowledge;
use crate::limits::Limits;
use crate::upstream::Upstream;

pub(crate) struct Core {
    pub upstream: Upstream,
    pub known: Knowledge,
    pub held: Held,
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
        self.cache.store(&self.upstream.own(), &self.known.read(Clone::clone), &self.held.all())
    }
}
