//! How the names of what changed are stored.

use sekisho_types::{EntryId, Revision, SpiffeId};

use crate::{Changed, ChangedId, StoreError};

/// Kind and id.
pub(crate) fn key(what: &ChangedId) -> (&'static str, String) {
    match what {
        ChangedId::Entry { id, .. } => ("entry", id.as_str().to_owned()),
        ChangedId::Node(id) => ("node", id.to_string()),
        ChangedId::Authority(id) => ("authority", id.clone()),
        ChangedId::Policy => ("policy", String::new()),
        ChangedId::Revocation => ("revocation", String::new()),
    }
}

/// Parents and SPIFFE IDs, separated by spaces.
pub(crate) fn relations(what: &ChangedId) -> (String, String) {
    let joined = |ids: &[SpiffeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match what {
        ChangedId::Entry { parents, spiffe_ids, .. } => (joined(parents), joined(spiffe_ids)),
        _ => Default::default(),
    }
}

pub(crate) fn from_texts(
    revision: u64,
    (kind, id): (&str, String),
    (parents, spiffe_ids): (&str, &str),
) -> Result<Changed, StoreError> {
    let damaged = || StoreError::Damaged("change");
    let spiffe_id = |text: &str| SpiffeId::parse(text).map_err(|_| damaged());
    let ids = |text: &str| text.split_whitespace().map(spiffe_id).collect::<Result<_, _>>();
    let what = match kind {
        "entry" => ChangedId::Entry {
            id: EntryId::parse(&id).map_err(|_| damaged())?,
            parents: ids(parents)?,
            spiffe_ids: ids(spiffe_ids)?,
        },
        "node" => ChangedId::Node(spiffe_id(&id)?),
        "authority" => ChangedId::Authority(id),
        "policy" => ChangedId::Policy,
        "revocation" => ChangedId::Revocation,
        _ => return Err(damaged()),
    };
    Ok(Changed { revision: Revision(revision), what })
}
