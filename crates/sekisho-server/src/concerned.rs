//! Whom a change of the state concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_types::SpiffeId;

/// Whom a change concerns, by what streams are found by.
#[derive(Debug, Default)]
pub(crate) struct Concerned {
    /// Those who serve these.
    pub parents: BTreeSet<SpiffeId>,
    /// Agents that these aliases of nodes select, as they are or were.
    pub aliases: Vec<Arc<Entry>>,
    /// How these agents stand, or what they proved, may have changed.
    pub agents: BTreeSet<SpiffeId>,
    /// Policy, bundle and revocations go to all.
    pub all: bool,
}

impl Concerned {
    /// Notes an entry as it is or was. Whether it is an alias of nodes, whose change moves what they serve.
    pub(crate) fn note(&mut self, entry: &Arc<Entry>) -> bool {
        self.parents.insert(entry.parent_id.clone());
        let is_alias = entry.parent_id.path() == "/spire/server";
        if is_alias {
            self.aliases.push(entry.clone());
        }
        is_alias
    }
}
