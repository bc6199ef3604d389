//! Links in Markdown lead somewhere: to a file of the repository and, behind `#`, to one of its headings.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::markdown;

const SUMMARY: &str = "docs/SUMMARY.md";

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut linked = Vec::new();
    for path in markdown::files(root)? {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for (number, target) in targets(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { path.clone() } else { plain(&path.with_file_name("").join(file)) };
            if !file.exists() {
                out.push(format!("{shown}:{number}: {target}: no such file"));
            } else if !anchor.is_empty() && !anchors(&file)?.contains(&anchor.to_owned()) {
                out.push(format!("{shown}:{number}: {target}: no such heading"));
            }
            if shown == SUMMARY {
                linked.push(file);
            }
        }
        if shown == SUMMARY {
            out.extend(other_titles(&path, &text)?);
        }
    }
    let pages = markdown::files(&root.join("docs"))?.into_iter();
    let missing = pages.map(|page| plain(&page)).filter(|page| !page.ends_with(SUMMARY) && !linked.contains(page));
    out.extend(missing.map(|page| format!("{}: not in {SUMMARY}", page.display())));
    Ok(out)
}

/// Rows of the summary that name a decision by another title than its page does.
fn other_titles(summary: &Path, text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((title, target)) = line.split_once('[').and_then(|(_, rest)| rest.split_once("](")) else { continue };
        let page = summary.with_file_name(target.trim_end().trim_end_matches(')'));
        if !target.starts_with("decisions/0") || !page.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        let heading = text.lines().next().unwrap_or_default().trim_start_matches("# ").replacen(": ", " ", 1);
        if title != heading {
            out.push(format!("{SUMMARY}:{}: {title}: the page's title is `{heading}`", number + 1));
        }
    }
    Ok(out)
}

/// The targets of links and pictures outside of code, except those in the web, with the numbers of their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in markdown::prose(text) {
        let starts = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let own = starts.map(|(target, _)| target.split(' ').next().unwrap_or_default());
        let own = own.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        out.extend(own.map(|target| (number, target.to_owned())));
    }
    out
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.components().next_back().is_some_and(|last| last != Component::ParentDir) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut seen = BTreeMap::<String, usize>::new();
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(slug.clone()).or_default();
        out.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_files_and_headings_are_found() {
        let root = std::env::temp_dir().join(format!("sekisho-links-{}", std::process::id()));
        std::fs::create_dir_all(root.join("docs")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write("README.md", "# A & b\n[x](docs/one.md#two-words) [y](#a--b) [z](gone.md) [w](https://a.b/c)\n");
        write("docs/one.md", "## Two words\n[up](../README.md#gone) `[no](code.md)`\n");
        write(SUMMARY, "- [One](one.md)\n");
        let found = check(&root).unwrap();
        let wanted = ["README.md:2: gone.md: no such file", "docs/one.md:2: ../README.md#gone: no such heading"];
        assert_eq!(found, wanted);
        write(SUMMARY, "");
        assert!(check(&root).unwrap().iter().any(|text| text.ends_with("one.md: not in docs/SUMMARY.md")));
        std::fs::create_dir_all(root.join("docs/decisions")).unwrap();
        write("docs/decisions/0001-one.md", "# 0001: One\n");
        write(SUMMARY, "- [One](one.md)\n  - [0001 First](decisions/0001-one.md)\n");
        let titled = check(&root).unwrap();
        assert!(titled.contains(&"docs/SUMMARY.md:2: 0001 First: the page's title is `0001 One`".into()), "{titled:?}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
