//! Why a process has, or does not have, an identity: the entry that comes nearest and what differs.

use std::collections::BTreeSet;

use sekisho_types::{Selector, UnixTime};

use crate::{Entry, matches, nearest};

/// A selector that the entry wants and that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub wants: Selector,
    /// What was found of the same property, for example another digest.
    pub found: Vec<Selector>,
}

#[derive(Debug, Clone)]
pub enum WhyIdentity<'a> {
    /// These entries match.
    Matched(Vec<&'a Entry>),
    /// No entry matches; this one comes nearest.
    Nearest { entry: &'a Entry, differences: Vec<Difference>, expired: bool },
    /// No entry shares any selector with the process.
    Nothing,
}

/// Explains what `entries` give a process with the selectors `found`.
pub fn why_identity<'a>(
    entries: impl Iterator<Item = &'a Entry> + Clone,
    found: &BTreeSet<Selector>,
    now: UnixTime,
) -> WhyIdentity<'a> {
    let matched = matches(entries.clone(), found, now);
    if !matched.is_empty() {
        return WhyIdentity::Matched(matched);
    }
    let Some(entry) = nearest(entries, found) else {
        return WhyIdentity::Nothing;
    };
    let same_property = |wanted: &Selector| -> Vec<Selector> {
        found.iter().filter(|s| s.property() == wanted.property()).cloned().collect()
    };
    let differences = entry
        .selectors
        .difference(found)
        .map(|wants| Difference { wants: wants.clone(), found: same_property(wants) })
        .collect();
    WhyIdentity::Nearest { entry, differences, expired: entry.is_expired(now) }
}
