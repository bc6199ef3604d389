//! The refused words of `docs/glossary.md`, and where they occur in a line.

use std::path::Path;

const GLOSSARY: &str = "docs/glossary.md";
const HEADING: &str = "## Refused words";
/// `an outage is no refusal` is refused. These forms are plain English.
const NO_BEFORE: [&str; 1] = ["there"];
const NO_AFTER: [&str; 4] = ["longer", "more", "less", "later"];

/// Each refused word or phrase, as its parts, with what to say instead.
#[derive(Debug)]
pub(crate) struct Words(Vec<(Vec<String>, String)>);

impl Words {
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(root.join(GLOSSARY)).map_err(|e| format!("{GLOSSARY}: {e}"))?;
        let words = Self::parse(&text);
        if words.0.is_empty() { Err(format!("{GLOSSARY} has no table `{HEADING}`")) } else { Ok(words) }
    }

    fn parse(text: &str) -> Self {
        let section = text.split_once(HEADING).map_or("", |(_, rest)| rest);
        let section = section.split_once("\n## ").map_or(section, |(own, _)| own);
        let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.split_once('|'));
        let rows = rows.filter(|(refused, _)| !refused.starts_with("---") && refused.trim() != "refused");
        let each = rows.flat_map(|(refused, say)| {
            refused.split(',').map(|phrase| (parts(phrase), say.trim().to_owned())).collect::<Vec<_>>()
        });
        Self(each.collect())
    }

    /// What is refused in this text: the word or phrase, and what to say instead.
    pub(crate) fn find(&self, text: &str) -> Vec<(String, &str)> {
        let found = parts(text);
        let mut out = Vec::new();
        for (phrase, say) in &self.0 {
            let length = phrase.len();
            for (at, window) in found.windows(length).enumerate() {
                let before = at.checked_sub(1).and_then(|at| found.get(at)).map_or("", String::as_str);
                let after = found.get(at + length).map_or("", String::as_str);
                let plain = window.last().is_some_and(|last| last == "no")
                    && (NO_BEFORE.contains(&before) || NO_AFTER.contains(&after));
                if window == phrase.as_slice() && !plain {
                    out.push((phrase.join(" "), say.as_str()));
                }
            }
        }
        out
    }
}

/// The words of a text or a name, in lower case. `CamelCase` has two, and so has `snake_case`.
pub(crate) fn parts(text: &str) -> Vec<String> {
    let (mut out, mut word) = (Vec::new(), String::new());
    let mut lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            out.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        lower = c.is_lowercase();
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    out.extend((!word.is_empty()).then_some(word));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole() {
        let table = "## Refused words\n\n| refused | say |\n|---|---|\n\
                     | told, news | sent |\n| for ever | permanently |\n| is no | is not a |\n";
        let words = Words::parse(table);
        let found = |line: &str| words.find(line).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(found("Told for ever: an outage is no refusal"), ["told", "for ever", "is no"]);
        assert_eq!(found("fn told_twice, struct NewsItem"), ["told", "news"]);
        assert!(found("there is no server, it is no longer here, newspaper, forever").is_empty());
    }
}
