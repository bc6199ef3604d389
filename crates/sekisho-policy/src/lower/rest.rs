//! The rules that the lowering leaves to the engine, as a policy set of their own: the same files, in which the other
//! rules of the entry rule have another name. Lines stay where they were.

use super::{Head, Lowered};
use crate::source::Source;

const NAME: &str = "allow";

/// The files without the rules that are decided here, and without the default; `None` where the engine has to see them
/// all.
pub(crate) fn sources(lowered: &Lowered, sources: &[Source]) -> Option<Vec<Source>> {
    // A file is found again by its name.
    if sources.windows(2).any(|two| matches!(two, [one, other] if one.name == other.name)) {
        return None;
    }
    let name = (0..10_000).map(|n| format!("a{n:04}")).find(|name| !sources.iter().any(|s| s.text.contains(name)))?;
    let heads = || lowered.decided.iter().chain(&lowered.defaults);
    sources.iter().map(|source| renamed(source, heads().filter(|head| head.file == source.name), &name)).collect()
}

fn renamed<'a>(source: &Source, heads: impl Iterator<Item = &'a Head>, name: &str) -> Option<Source> {
    let mut text = source.text.clone();
    for head in heads {
        let range = head.start..head.start + NAME.len();
        if text.get(range.clone()) != Some(NAME) {
            return None;
        }
        text.replace_range(range, name);
    }
    Some(Source { name: source.name.clone(), text })
}
