//! The section of `ARCHITECTURE.md` on where a change goes names files that exist.

use std::path::Path;

const BEGIN: &str = "## Where a change goes\n";
/// The section has at least this many changes.
const LEAST: usize = 10;

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).map_err(|e| e.to_string())?;
    Ok(findings(&document, |file| root.join(file).exists()))
}

fn findings(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let after = document.split_once(BEGIN).map(|(_, after)| after).unwrap_or_default();
    let section = after.split("\n## ").next().unwrap_or_default();
    let changes: Vec<&str> = section.split("\n### ").skip(1).collect();
    let mut out = Vec::new();
    if changes.len() < LEAST {
        out.push(format!("ARCHITECTURE.md: \"Where a change goes\" has {} changes, fewer than {LEAST}", changes.len()));
    }
    for text in changes {
        let change = text.lines().next().unwrap_or_default();
        // Every other piece is within backticks.
        let mut files = text.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).peekable();
        if files.peek().is_none() {
            out.push(format!("ARCHITECTURE.md: \"{change}\" names no file"));
        }
        let gone = files.filter(|file| !exists(file));
        out.extend(gone.map(|file| format!("ARCHITECTURE.md: \"{change}\" names `{file}`, which does not exist")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(change: &str) -> String {
        let others: String = (0..9).map(|n| format!("\n### change {n}\n- `a/b.rs`: text\n")).collect();
        format!("# A\n{BEGIN}\n{others}\n### {change}\n## B\n- `gone/x`\n")
    }

    #[test]
    fn files_that_exist_are_accepted() {
        let found = findings(&document("a metric\n- `a/b.rs`\n- `a/b.rs`, if it counts\n"), |file| file == "a/b.rs");
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_missing_file_or_section_is_found() {
        let found = findings(&document("a metric\n- `a/c.rs`\n"), |file| file == "a/b.rs");
        assert_eq!(found, ["ARCHITECTURE.md: \"a metric\" names `a/c.rs`, which does not exist"]);
        assert_eq!(findings(&document("a metric\n- somewhere\n"), |_| true).len(), 1);
        assert_eq!(findings("# A\n", |_| true).len(), 1);
    }
}
