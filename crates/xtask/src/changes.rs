//! The table of `ARCHITECTURE.md` that says where a change goes names files that exist.

use std::path::Path;

const BEGIN: &str = "## Where a change goes\n";
/// Typical changes that the table has at least.
const LEAST: usize = 10;

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).map_err(|e| e.to_string())?;
    Ok(findings(&document, |file| root.join(file).exists()))
}

fn findings(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let after = document.split_once(BEGIN).map(|(_, after)| after).unwrap_or_default();
    let table = after.split("\n## ").next().unwrap_or_default();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let mut out = Vec::new();
    if rows.len() < LEAST {
        out.push(format!("ARCHITECTURE.md: \"Where a change goes\" has {} changes, fewer than {LEAST}", rows.len()));
    }
    for row in rows {
        let change = row.split('|').nth(1).unwrap_or_default().trim();
        // Every other piece is within backticks.
        let mut files = row.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).peekable();
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

    fn document(row: &str) -> String {
        let others: String = (0..9).map(|n| format!("| change {n} | `a/b.rs` | text |\n")).collect();
        format!("# A\n{BEGIN}\n| change | begins in | and |\n|---|---|---|\n{others}{row}\n## B\n| c | `gone/x` | |\n")
    }

    #[test]
    fn a_row_with_files_that_exist_is_no_finding() {
        let found = findings(&document("| a metric | `a/b.rs` | `a/b.rs` if it counts |"), |file| file == "a/b.rs");
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_missing_file_or_table_is_a_finding() {
        let found = findings(&document("| a metric | `a/c.rs` | |"), |file| file == "a/b.rs");
        assert_eq!(found, ["ARCHITECTURE.md: \"a metric\" names `a/c.rs`, which does not exist"]);
        assert_eq!(findings(&document("| a metric | somewhere | |"), |_| true).len(), 1);
        assert_eq!(findings("# A\n", |_| true).len(), 1);
    }
}
