//! How the names of what changed are stored.

use std::borrow::Cow;

use sekisho_types::{EntryId, Revision, SpiffeId};

use crate::{Changed, ChangedId, StoreError};

/// Kind and id.
pub(crate) fn key(what: &ChangedId) -> (&'static str, &str) {
    match what {
        ChangedId::Entry { id, .. } => ("entry", id.as_str()),
        ChangedId::Node(id) => ("node", id.as_str()),
        ChangedId::Authority(id) => ("authority", id),
        ChangedId::Policy => ("policy", ""),
        ChangedId::Revocation => ("revocation", ""),
    }
}

/// Parents and SPIFFE IDs, separated by spaces.
pub(crate) fn relations(what: &ChangedId) -> (Cow<'_, str>, Cow<'_, str>) {
    fn joined(ids: &[SpiffeId]) -> Cow<'_, str> {
        match ids {
            [only] => only.as_str().into(),
            ids => ids.iter().map(SpiffeId::as_str).collect::<Vec<_>>().join(" ").into(),
        }
    }
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
