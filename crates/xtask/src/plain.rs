//! Plain technical English in the documents: words that readers whose first language is another stumble over.

use std::path::{Path, PathBuf};

/// Each with the word to use.
const WORDS: [(&str, &str); 18] = [
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("lend", "delegate"),
    ("lends", "delegates"),
    ("lent", "delegated"),
    ("told", "sent, notified, reported"),
    ("news", "changes"),
    ("twin", "duplicate, in-memory implementation"),
    ("nobody", "no caller, no user"),
    ("whoever", "anyone who"),
    ("room", "crate, free space"),
    ("rooms", "crates"),
    ("floor", "layer, lower bound"),
    ("floors", "layers"),
    ("walk", "flow"),
    ("walks", "flows"),
    ("anybody", "anyone"),
];
const PHRASES: [(&str, &str); 5] = [
    ("for ever", "permanently"),
    ("goes first", "takes precedence"),
    ("go first", "take precedence"),
    ("for want of", "without"),
    ("what stands", "what is there"),
];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut files: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(|name| root.join(name)).into();
    for folder in ["docs", "docs/decisions"] {
        let items = std::fs::read_dir(root.join(folder)).map_err(|e| format!("{folder}: {e}"))?;
        files
            .extend(items.flatten().map(|item| item.path()).filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    files.sort();
    let mut out = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for (number, line) in text.lines().enumerate() {
            out.extend(found(line).map(|(word, better)| format!("{shown}:{}: `{word}`: say {better}", number + 1)));
        }
    }
    Ok(out)
}

fn found(line: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let words: Vec<String> = line.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
    let spaced = format!(" {} ", words.join(" "));
    let phrases = PHRASES.into_iter().filter(move |(phrase, _)| spaced.contains(&format!(" {phrase} ")));
    WORDS.into_iter().filter(move |(word, _)| words.iter().any(|found| found == word)).chain(phrases)
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_found_whole_and_phrases_anywhere() {
        let said = |line: &str| super::found(line).map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(said("Nobody is told. It goes on for ever"), ["told", "nobody", "for ever"]);
        assert!(said("amend the roomy document for everything").is_empty());
    }
}
