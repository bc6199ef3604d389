//! Advice for an operator when a process got no identity. No advice makes an entry ask for less (law L16): a command
//! that is pasted without care must not give one service's identity to another process.

use std::collections::BTreeSet;

use sekisho_types::{Selector, SelectorSet};

use crate::{Entry, Near};

const DIGEST: &str = "unix:sha256";
const USER: &str = "unix:uid";
const PROGRAM: &str = "unix:path";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice<'a> {
    /// Start the process as this entry describes it.
    StartAsRegistered { entry: &'a Entry, wants: Vec<Selector> },
    /// All selectors match, except the executable's digest: perhaps a new release, which an operator must approve.
    ApproveDigest { entry: &'a Entry, sha256: String, program: Option<String> },
    /// The entry has expired; its owner decides on a new expiry.
    Expired { entry: &'a Entry },
    /// Register the process under an identity of its own, by its user and its executable.
    Register { user: Selector, executable: Selector },
}

/// Possible actions, the smallest first. `near` holds the nearest entries, as [`crate::near`] finds them.
pub fn advice<'a>(near: &[Near<'a>], found: &SelectorSet) -> Vec<Advice<'a>> {
    let mut out: Vec<Advice<'a>> = near.iter().flat_map(|near| for_entry(near, found)).collect();
    if let (Some(user), Some(executable)) = (only(found, USER), only(found, DIGEST)) {
        out.push(Advice::Register { user: user.clone(), executable: executable.clone() });
    }
    out
}

fn for_entry<'a>(near: &Near<'a>, found: &SelectorSet) -> Vec<Advice<'a>> {
    let entry = near.entry;
    if near.expired {
        return vec![Advice::Expired { entry }];
    }
    let wants = near.differences.iter().map(|difference| difference.wants.clone()).collect();
    let mut out = vec![Advice::StartAsRegistered { entry, wants }];
    if let [difference] = near.differences.as_slice()
        && difference.wants.property() == DIGEST
        && only(&entry.selectors, DIGEST).is_some()
        && let Some(digest) = only(found, DIGEST)
    {
        let sha256 = detail(digest).to_owned();
        let program = only(found, PROGRAM).map(|path| detail(path).to_owned());
        out.push(Advice::ApproveDigest { entry, sha256, program });
    }
    out
}

/// The selector of a property, if there is exactly one.
fn only<'a>(found: &'a SelectorSet, property: &str) -> Option<&'a Selector> {
    let mut of_it = found.iter().filter(|selector| selector.property() == property);
    of_it.next().filter(|_| of_it.next().is_none())
}

/// `/bin/true` for `unix:path:/bin/true`.
fn detail(selector: &Selector) -> &str {
    selector.value().split_once(':').map_or(selector.value(), |(_, detail)| detail)
}

/// The properties for which `after` asks less often than `before`: what a change of an entry gives up.
pub fn loosened(before: &SelectorSet, after: &SelectorSet) -> Vec<String> {
    let asked = |set: &SelectorSet, property: &str| set.iter().filter(|one| one.property() == property).count();
    let properties: BTreeSet<&str> = before.iter().map(Selector::property).collect();
    let fewer = |property: &&str| asked(after, property) < asked(before, property);
    properties.into_iter().filter(fewer).map(str::to_owned).collect()
}

/// `selectors` with this digest in the place of the one that they hold; `None` if they do not hold exactly one.
pub fn with_digest(selectors: &SelectorSet, sha256: &Selector) -> Option<SelectorSet> {
    let (digests, mut kept): (SelectorSet, SelectorSet) =
        selectors.iter().cloned().partition(|selector| selector.property() == DIGEST);
    kept.insert(sha256.clone());
    (digests.len() == 1 && sha256.property() == DIGEST).then_some(kept)
}

#[cfg(test)]
mod tests {
    use sekisho_types::{EntryId, SpiffeId, UnixTime};

    use super::*;
    use crate::near;

    fn set(texts: &[&str]) -> SelectorSet {
        texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
    }

    fn entry(id: &str, selectors: SelectorSet) -> Entry {
        let spiffe = |path: &str| SpiffeId::parse(&format!("spiffe://td.example/{path}")).unwrap();
        Entry::new(EntryId::parse(id).unwrap(), spiffe("svc"), spiffe("spire/agent/a"), selectors)
    }

    const ALL: [&str; 6] =
        ["unix:uid:0", "unix:uid:7", "unix:sha256:aa", "unix:sha256:bb", "unix:path:/a", "docker:label:a:b"];

    fn subsets() -> Vec<SelectorSet> {
        let chosen = |bits: usize| ALL.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1);
        (1..1 << ALL.len()).map(|bits| set(&chosen(bits).map(|(_, text)| *text).collect::<Vec<_>>())).collect()
    }

    /// The attack: `why` proposed to replace the selectors of another service's entry by what the asking process has.
    #[test]
    fn law_l16_no_advice_makes_any_entry_ask_for_less() {
        let mut approvals = 0;
        for wanted in subsets() {
            let entry = entry("e", wanted.clone());
            for found in subsets() {
                let near = near([&entry], &found, UnixTime::default(), 3);
                for advice in advice(&near, &found) {
                    match advice {
                        Advice::StartAsRegistered { wants, .. } => {
                            assert!(wants.iter().all(|wants| wanted.contains(wants) && !found.contains(wants)));
                        }
                        Advice::ApproveDigest { sha256, .. } => {
                            approvals += 1;
                            let digest = Selector::new("unix", &format!("sha256:{sha256}")).unwrap();
                            let changed = with_digest(&wanted, &digest).unwrap();
                            assert!(loosened(&wanted, &changed).is_empty() && changed.len() == wanted.len());
                            let kept = |s: &&Selector| s.property() != DIGEST;
                            assert!(wanted.iter().filter(kept).eq(changed.iter().filter(kept)), "{wanted:?}");
                            // Nothing but the digest stands between the process and the identity.
                            assert!(changed.is_subset(&found) && !changed.iter().all(|s| s.property() == DIGEST));
                        }
                        Advice::Register { user, executable } => {
                            assert!(found.contains(&user) && found.contains(&executable));
                            assert_eq!((user.property(), executable.property()), (USER, DIGEST));
                        }
                        Advice::Expired { .. } => panic!("it has no end"),
                    }
                }
            }
        }
        assert!(approvals > 10, "{approvals}");
    }

    #[test]
    fn an_expired_entry_is_named_without_advice() {
        let ended = Entry { expires_at: Some(UnixTime::from_seconds(5)), ..entry("e", set(&["unix:uid:7"])) };
        let found = set(&["unix:uid:7"]);
        let near = near([&ended], &found, UnixTime::from_seconds(6), 3);
        assert_eq!(advice(&near, &found), [Advice::Expired { entry: &ended }]);
    }

    #[test]
    fn a_change_that_asks_less_is_seen() {
        let full = set(&["unix:uid:7", "unix:sha256:aa", "docker:label:a:b", "docker:label:c:d"]);
        for (after, expected) in [
            (&["unix:uid:0"][..], &["docker:label", "unix:sha256"][..]),
            (&["unix:uid:7", "unix:sha256:bb", "docker:label:a:b", "docker:label:c:d"], &[]),
            (&["unix:uid:7", "unix:sha256:aa", "docker:label:a:b"], &["docker:label"]),
            (&["unix:uid:7", "unix:path:/a", "docker:label:a:b", "docker:label:c:d"], &["unix:sha256"]),
        ] {
            assert_eq!(loosened(&full, &set(after)), expected, "{after:?}");
        }
    }

    #[test]
    fn the_nearest_entries_come_nearest_first() {
        let entries = [
            entry("none", set(&["unix:uid:7"])),
            entry("half", set(&["unix:uid:0", "unix:path:/b"])),
            entry("most", set(&["unix:uid:0", "unix:path:/a", "unix:sha256:bb"])),
        ];
        let found = set(&["unix:uid:0", "unix:path:/a", "unix:sha256:aa"]);
        let near = near(&entries, &found, UnixTime::default(), 3);
        assert_eq!(near.iter().map(|near| near.entry.id.as_str()).collect::<Vec<_>>(), ["most", "half"]);
        assert_eq!(near[0].differences[0].found, [Selector::parse("unix:sha256:aa").unwrap()]);
    }
}
