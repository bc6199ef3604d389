//! Why a process has, or does not have, an identity: the entries that come nearest and what differs.

use std::cmp::Reverse;

use sekisho_types::{Selector, SelectorSet, UnixTime};

use crate::{Entry, matches};

/// A selector that the entry wants and that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub wants: Selector,
    /// What was found of the same property, for example another digest.
    pub found: Vec<Selector>,
}

/// An entry that shares selectors with the process and does not match it.
#[derive(Debug, Clone)]
pub struct Near<'a> {
    pub entry: &'a Entry,
    pub differences: Vec<Difference>,
    pub expired: bool,
}

#[derive(Debug, Clone)]
pub enum WhyIdentity<'a> {
    /// These entries match.
    Matched(Vec<&'a Entry>),
    /// No entry matches; this one comes nearest.
    Nearest(Near<'a>),
    /// No entry shares any selector with the process.
    Nothing,
}

/// Explains what `entries` give a process with the selectors `found`.
pub fn why_identity<'a>(
    entries: impl Iterator<Item = &'a Entry> + Clone,
    found: &SelectorSet,
    now: UnixTime,
) -> WhyIdentity<'a> {
    let matched = matches(entries.clone(), found, now);
    if !matched.is_empty() {
        return WhyIdentity::Matched(matched);
    }
    let nearest = entries.filter(|entry| score(entry, found).1 > 0).min_by_key(|entry| rank(entry, found));
    nearest.map_or(WhyIdentity::Nothing, |entry| WhyIdentity::Nearest(compare(entry, found, now)))
}

/// The entries that come nearest, at most `limit`, the nearest first.
pub fn near<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    found: &SelectorSet,
    now: UnixTime,
    limit: usize,
) -> Vec<Near<'a>> {
    let mut near: Vec<&Entry> = entries.into_iter().filter(|entry| score(entry, found).1 > 0).collect();
    near.sort_by_key(|entry| rank(entry, found));
    near.into_iter().take(limit).map(|entry| compare(entry, found, now)).collect()
}

/// The share of its selectors that is found, in thousandths, and how many they are.
fn score(entry: &Entry, found: &SelectorSet) -> (usize, usize) {
    let shared = entry.selectors.intersection(found).count();
    (shared * 1000 / entry.selectors.len().max(1), shared)
}

type Rank<'a> = (Reverse<(usize, usize)>, UnixTime, &'a str);

fn rank<'a>(entry: &'a Entry, found: &SelectorSet) -> Rank<'a> {
    (Reverse(score(entry, found)), entry.created_at, entry.id.as_str())
}

fn compare<'a>(entry: &'a Entry, found: &SelectorSet, now: UnixTime) -> Near<'a> {
    let same_property = |wanted: &Selector| -> Vec<Selector> {
        found.iter().filter(|s| s.property() == wanted.property()).cloned().collect()
    };
    let differences = entry
        .selectors
        .difference(found)
        .map(|wants| Difference { wants: wants.clone(), found: same_property(wants) })
        .collect();
    Near { entry, differences, expired: entry.is_expired(now) }
}
