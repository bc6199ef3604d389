use std::collections::BTreeSet;

use sekisho_types::Digest;

use crate::Entry;

/// The SHA-256 over entries and their versions. An agent that continued from an earlier position checks by it that it
/// holds the right entries. Times of creation count in whole seconds, as on the wire.
pub fn held_digest<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Digest {
    let version = |entry: &'a Entry| (entry.id.as_str(), entry.revision_number, entry.created_at.seconds());
    let versions: BTreeSet<_> = entries.into_iter().map(version).collect();
    // An id holds neither spaces nor line ends.
    let lines: String = versions.iter().map(|(id, revision, created)| format!("{id} {revision} {created}\n")).collect();
    crate::sha256(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use sekisho_types::{EntryId, Selector, SelectorSet, SpiffeId, UnixTime};

    use super::*;

    #[test]
    fn the_digest_covers_the_set_and_each_version() {
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap();
        let selectors: SelectorSet = [Selector::parse("unix:uid:1").unwrap()].into();
        let entry = |name: &str| Entry::new(EntryId::parse(name).unwrap(), id("a"), id("n"), selectors.clone());
        let (a, b) = (entry("a"), entry("b"));
        assert_eq!(held_digest([&a, &b]), held_digest([&b, &a]));
        let later = Entry { revision_number: 1, ..a.clone() };
        let other = Entry { created_at: UnixTime::from_seconds(9), ..a.clone() };
        let all =
            [held_digest([&a]), held_digest([&a, &b]), held_digest([&later]), held_digest([&other]), held_digest([])];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
