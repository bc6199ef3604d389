//! What changed lately: one log that all streams read, each from where it is. A stream that falls behind uses no
//! memory: what it missed is no longer here, and it begins with everything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sekisho_identity::Revocation;
use sekisho_store::{Changed, ChangedId, Epoch, EpochRecord, Past};
use sekisho_types::{EntryId, Revision, SpiffeId};

/// Changes of entries that are kept.
pub(crate) const KEPT: usize = 50_000;
const KEPT_REVOCATIONS: usize = 1000;

/// Counts each change of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Generation(pub u64);

/// From where a reader goes on: streams by generation, agents that come back by revision.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Since {
    Generation(Generation),
    Revision(Revision),
}

#[derive(Default)]
pub(crate) struct Recent {
    /// In their order.
    by_parent: BTreeMap<Arc<SpiffeId>, VecDeque<Record>>,
    /// The parents of all records, in their order.
    order: VecDeque<Arc<SpiffeId>>,
    /// All later changes are here.
    complete_after: (Generation, Revision),
    revocations: VecDeque<(Generation, Arc<Revocation>)>,
    revocations_after: Generation,
    /// When it may last have changed which parents some agent serves.
    moved: Generation,
    epochs: Vec<EpochRecord>,
}

struct Record {
    generation: Generation,
    revision: Revision,
    entry: EntryId,
}

impl Record {
    fn is_after(&self, since: Since) -> bool {
        match since {
            Since::Generation(generation) => self.generation > generation,
            Since::Revision(revision) => self.revision > revision,
        }
    }
}

impl Recent {
    /// What was stored of the time before this run.
    pub(crate) fn of(past: Past, now: Generation) -> Self {
        let complete_after = (Generation::default(), past.since);
        let mut recent =
            Self { complete_after, epochs: past.epochs, moved: now, revocations_after: now, ..Self::default() };
        for Changed { revision, what } in past.changed {
            let ChangedId::Entry { id, mut parents, .. } = what else { continue };
            parents.sort();
            parents.dedup();
            parents.iter().for_each(|parent| recent.changed(parent, &id, (Generation::default(), revision)));
        }
        recent
    }

    /// An entry changed that has this parent, or had it before.
    pub(crate) fn changed(
        &mut self,
        parent: &SpiffeId,
        entry: &EntryId,
        (generation, revision): (Generation, Revision),
    ) {
        let known = self.by_parent.get_key_value(parent).map(|(known, _)| known.clone());
        let parent = known.unwrap_or_else(|| Arc::new(parent.clone()));
        let records = self.by_parent.entry(parent.clone()).or_default();
        if records
            .back()
            .is_some_and(|last| (last.generation, last.revision) == (generation, revision) && last.entry == *entry)
        {
            return;
        }
        records.push_back(Record { generation, revision, entry: entry.clone() });
        self.order.push_back(parent);
        if self.order.len() > KEPT {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(parent) = self.order.pop_front() else { return };
        let Some(records) = self.by_parent.get_mut(&parent) else { return };
        if let Some(oldest) = records.pop_front() {
            self.complete_after = (oldest.generation, oldest.revision);
        }
        if records.is_empty() {
            self.by_parent.remove(&parent);
        }
    }

    /// What was recorded does not say what holds now: every reader begins with everything.
    pub(crate) fn forget_all(&mut self, (generation, revision): (Generation, Revision)) {
        self.by_parent.clear();
        self.order.clear();
        self.complete_after = (generation, Revision(revision.0.saturating_add(1)));
    }

    pub(crate) fn revoked(&mut self, revocation: &Arc<Revocation>, generation: Generation) {
        self.revocations.push_back((generation, revocation.clone()));
        if self.revocations.len() > KEPT_REVOCATIONS
            && let Some((oldest, _)) = self.revocations.pop_front()
        {
            self.revocations_after = oldest;
        }
    }

    /// Some agent may serve other parents from now on.
    pub(crate) const fn moved(&mut self, generation: Generation) {
        self.moved = generation;
    }

    pub(crate) fn moved_after(&self, generation: Generation) -> bool {
        self.moved > generation
    }

    /// Whether all that changed since is known.
    pub(crate) fn reaches(&self, since: Since) -> bool {
        match since {
            Since::Generation(generation) => generation >= self.complete_after.0,
            Since::Revision(revision) => revision >= self.complete_after.1,
        }
    }

    /// The entries that changed since below a parent; one that changed twice is named twice.
    pub(crate) fn under(&self, parent: &SpiffeId, since: Since) -> impl Iterator<Item = &EntryId> {
        let records = self.by_parent.get(parent).into_iter().flat_map(|records| records.iter().rev());
        records.take_while(move |record| record.is_after(since)).map(|record| &record.entry)
    }

    /// The revocations since, if all of them are known.
    pub(crate) fn revocations(&self, since: Generation) -> Option<impl Iterator<Item = &Arc<Revocation>>> {
        let later = self.revocations.iter().rev().take_while(move |(generation, _)| *generation > since);
        (since >= self.revocations_after).then(|| later.map(|(_, revocation)| revocation))
    }

    /// The run that writes now.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.epochs.last().map(|record| record.epoch)
    }

    /// Whether the state as it was at `revision` in the run `epoch` is part of this history, which has come to `held`.
    pub(crate) fn continues(&self, epoch: Epoch, revision: Revision, held: Revision) -> bool {
        let Some(at) = self.epochs.iter().position(|record| record.epoch == epoch) else { return false };
        revision <= self.epochs.get(at + 1).map_or(held, |next| next.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
    }

    fn entry(number: u64) -> EntryId {
        EntryId::parse(&format!("e{number}")).unwrap()
    }

    #[test]
    fn a_position_of_another_history_does_not_continue() {
        let epoch = |byte: u8, from| EpochRecord { epoch: Epoch([byte; 16]), from: Revision(from) };
        let past = Past { epochs: vec![epoch(1, 0), epoch(2, 10), epoch(3, 10)], ..Past::default() };
        let recent = Recent::of(past, Generation(1));
        let continues = |byte: u8, revision| recent.continues(Epoch([byte; 16]), Revision(revision), Revision(20));
        assert!(continues(1, 10) && continues(2, 10) && continues(3, 20));
        // A folder that was put back at revision 10, while its run had come to 15; a revision that was never given out;
        // a state that is not this one.
        assert!(!continues(1, 15) && !continues(2, 11) && !continues(3, 21) && !continues(9, 5));
        assert_eq!(recent.epoch(), Some(Epoch([3; 16])));
    }

    #[test]
    fn recent_changes_are_bounded() {
        let mut recent = Recent::default();
        for number in 1..=KEPT as u64 + 2 {
            recent.changed(&id(&format!("/n{}", number % 2)), &entry(number), (Generation(number), Revision(number)));
        }
        let reaches = |number| {
            (recent.reaches(Since::Generation(Generation(number))), recent.reaches(Since::Revision(Revision(number))))
        };
        assert_eq!((reaches(1), reaches(2)), ((false, false), (true, true)));
        let last = KEPT as u64 + 2;
        let found: Vec<&EntryId> = recent.under(&id("/n0"), Since::Revision(Revision(last - 4))).collect();
        assert_eq!(found, [&entry(last), &entry(last - 2)]);
        assert_eq!(recent.under(&id("/n0"), Since::Generation(Generation(0))).count(), KEPT / 2);
        assert_eq!(recent.under(&id("/none"), Since::Generation(Generation(0))).count(), 0);
        recent.forget_all((Generation(last), Revision(last)));
        assert!(
            !recent.reaches(Since::Revision(Revision(last))) && recent.reaches(Since::Revision(Revision(last + 1)))
        );
    }
}
