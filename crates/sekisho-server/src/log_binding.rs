//! The database is bound to the log: leaves say which revision of the state they were made at, so an older database
//! beside a newer log is noticed. The other way round, the database remembers how far the log had come
//! (`journal::check_mark`).

use std::fmt;

use sekisho_disk::Ledger;
use sekisho_events::{Leaf, OlderStateAccepted};
use sekisho_ledger::TILE_WIDTH;
use sekisho_store::{Item, LogMark, Write};
use sekisho_types::Revision;

use crate::domain::Domain;
use crate::journal::JournalError;

/// A log that speaks of a later state than the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaterState {
    /// Of the database.
    pub held: Revision,
    /// The highest that the log speaks of.
    pub logged: Revision,
    /// The leaf that does.
    pub index: u64,
}

impl fmt::Display for LaterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, logged, index } = self;
        write!(
            f,
            "it has revision {held}, and entry {index} of the log was made at revision {logged}; bans, deletions and \
                spent tokens"
        )?;
        f.write_str(" since then are missing in it")
    }
}

/// Whether the log speaks of a later state than the database of `revision`, which remembers `mark` of the log.
pub(crate) fn later_state(ledger: &Ledger, mark: Option<&LogMark>, held: Revision) -> Option<LaterState> {
    let (logged, index) = newest_state(ledger, mark.map_or(0, |mark| mark.size))?;
    (logged > held).then_some(LaterState { held, logged, index })
}

/// The newest revision of the state that a leaf from `from` on was made at, and where that leaf is. Reads files, from
/// the end of the log to the first bundle that says it, and one more: leaves of one moment may stand in another order
/// than their revisions.
pub(crate) fn newest_state(ledger: &Ledger, from: u64) -> Option<(Revision, u64)> {
    let size = ledger.size();
    let (mut newest, mut some_state) = (None, None);
    for number in (from / TILE_WIDTH..size.div_ceil(TILE_WIDTH)).rev() {
        let entries = ledger.bundle(number, size).unwrap_or_default();
        let leaves = (number * TILE_WIDTH..).zip(entries);
        let leaves: Vec<(u64, Leaf)> =
            leaves.filter_map(|(index, entry)| Some((index, Leaf::decode(&entry.leaf).ok()?))).collect();
        let found = leaves.iter().filter_map(|(index, leaf)| Some((leaf.state_revision?, *index))).max();
        let before = newest;
        newest = newest.max(found);
        if before.is_some() {
            return newest;
        }
        // A leaf of an earlier release says only that there was some state: but for some key events, which come before
        // it.
        some_state = some_state.or(leaves.iter().find(|(_, leaf)| !leaf.event.is_key_event()).map(|(index, _)| *index));
    }
    newest.or(some_state.map(|index| (Revision(1), index)))
}

/// Goes on from an older database, as the operator chose: its tokens may have been spent since, its revisions must not
/// be given out twice, and that it was done is in the log (law L16).
pub(crate) async fn continue_from_older(domain: &Domain, later: LaterState) -> Result<(), JournalError> {
    let meaning =
        format!("an older database is accepted: revision {}, and the log names {}", later.held.0, later.logged.0);
    sekisho_runtime::danger("danger_accept_older_state", &meaning);
    let stamp = domain.journal().stamp();
    let accepted = OlderStateAccepted { held_revision: later.held.0, logged_revision: later.logged.0 };
    let item = Item::from(Write::RemoveAllTokens).write(Write::JumpBeyond { floor: later.logged, since: later.held });
    domain.writer().write(item.record(stamp.leaf(accepted))).await.map(drop)
}
