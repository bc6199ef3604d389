//! Pages of entries, each in bounded time, however few of a million entries are wanted.

use std::sync::Arc;

use sekisho_identity::Entry;
use sekisho_types::EntryId;

/// Entries that are looked at for one page: changes of the view wait meanwhile.
const LOOKED_AT: usize = 20_000;

/// Some entries, and behind which id the next ones begin; `None` on the last page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub entries: Vec<Arc<Entry>>,
    pub next: Option<EntryId>,
}

impl Page {
    /// The first `limit` of the entries that `admits` lets through. If too many had to be looked at, the page ends
    /// early, perhaps empty; the next one goes on from there.
    pub(crate) fn of<'a>(
        listed: impl Iterator<Item = &'a Arc<Entry>>,
        limit: usize,
        admits: impl Fn(&Entry) -> bool,
    ) -> Self {
        let mut page = Self { entries: vec![], next: None };
        let mut last: Option<&EntryId> = None;
        for (looked_at, entry) in listed.enumerate() {
            let is_admitted = admits(entry);
            if looked_at == LOOKED_AT || (is_admitted && page.entries.len() == limit) {
                page.next = last.cloned();
                break;
            }
            if is_admitted {
                page.entries.push(entry.clone());
            }
            last = Some(&entry.id);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Arc<Entry>> {
        (0..count).map(|seed| Arc::new(Entry::sample(seed).unwrap())).collect()
    }

    #[test]
    fn pages_hold_all_admitted_entries() {
        let all = entries(2 * LOOKED_AT as u64 + 7);
        let rare = |entry: &Entry| entry.id.as_str().ends_with("00");
        let (mut found, mut pages, mut begin) = (vec![], 0, 0);
        loop {
            let page = Page::of(all[begin..].iter(), 100, rare);
            assert!(page.entries.len() <= 100);
            found.extend(page.entries);
            pages += 1;
            let Some(next) = page.next else { break };
            begin = all.iter().position(|entry| entry.id == next).unwrap() + 1;
        }
        assert!(found.iter().eq(all.iter().filter(|entry| rare(entry))));
        assert_eq!(pages, 3, "two that ended early");
        let full = Page::of(all.iter(), 5, |_| true);
        assert_eq!((full.entries.len(), full.next), (5, Some(all[4].id.clone())));
        assert_eq!(Page::of(all[..5].iter(), 5, |_| true).next, None, "nothing follows");
    }
}
