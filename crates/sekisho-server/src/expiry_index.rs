//! Entries by their expiry time, so that each is removed from its agents when it expires, without polling.

use std::collections::BTreeSet;

use sekisho_identity::Entry;
use sekisho_types::{EntryId, UnixTime};

#[derive(Default)]
pub(crate) struct ExpiryIndex {
    to_come: BTreeSet<(UnixTime, EntryId)>,
    /// Entries that expired before this time were taken.
    passed: UnixTime,
}

impl ExpiryIndex {
    pub(crate) fn put(&mut self, entry: &Entry) {
        if let Some(end) = entry.expires_at {
            self.to_come.insert((end, entry.id.clone()));
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        if let Some(end) = entry.expires_at {
            self.to_come.remove(&(end, entry.id.clone()));
        }
    }

    /// The next end.
    pub(crate) fn next(&self) -> Option<UnixTime> {
        self.to_come.first().map(|(end, _)| *end)
    }

    /// The first end after `now`.
    pub(crate) fn after(&self, now: UnixTime) -> Option<UnixTime> {
        self.to_come.iter().map(|(end, _)| *end).find(|end| *end > now)
    }

    /// Whether the clock was set back behind ends that have passed.
    pub(crate) fn is_set_back(&self, now: UnixTime) -> bool {
        now < self.passed
    }

    /// The entries that have expired by now, each once.
    pub(crate) fn take(&mut self, now: UnixTime) -> Vec<EntryId> {
        let mut ended = vec![];
        while let Some(next) = self.to_come.pop_first() {
            if next.0 > now {
                self.to_come.insert(next);
                break;
            }
            self.passed = self.passed.max(next.0);
            ended.push(next.1);
        }
        ended
    }

    /// Counts all ends as to come, after the clock was set back.
    pub(crate) fn begin_again<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        self.passed = UnixTime::default();
        entries.for_each(|entry| self.put(entry));
    }
}

#[cfg(test)]
mod tests {
    use sekisho_types::{SelectorSet, SpiffeId};

    use super::*;

    #[test]
    fn an_entry_expires_once_per_clock_pass() {
        let at = UnixTime::from_seconds;
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let entry = |name: &str, end: Option<i64>| Entry {
            expires_at: end.map(at),
            ..Entry::new(EntryId::parse(name).unwrap(), id("/a"), id("/n"), SelectorSet::new())
        };
        let all = [entry("a", Some(100)), entry("b", Some(50)), entry("c", None), entry("d", Some(100))];
        let mut ends = ExpiryIndex::default();
        all.iter().for_each(|entry| ends.put(entry));
        ends.remove(&all[3]);
        assert_eq!(ends.next(), Some(at(50)));
        let names = |ids: Vec<EntryId>| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
        assert!(ends.take(at(49)).is_empty() && !ends.is_set_back(at(49)));
        assert_eq!(names(ends.take(at(100))), ["b", "a"]);
        assert!(ends.take(at(100)).is_empty() && ends.next().is_none() && !ends.is_set_back(at(100)));
        assert!(ends.is_set_back(at(99)));
        ends.begin_again(all[..3].iter());
        assert_eq!((ends.next(), ends.is_set_back(at(99))), (Some(at(50)), false));
    }
}
