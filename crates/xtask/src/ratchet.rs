//! Allowances: how many findings of a kind a package may still have. They are in its manifest and may only fall.

use std::collections::BTreeMap;
use std::path::Path;

/// Findings by their package (a folder with a manifest, "" for the root) and kind.
pub(crate) type Counts = BTreeMap<(String, &'static str), usize>;

const PACKAGE: &str = "[package.metadata.tidy]";
const WORKSPACE: &str = "[workspace.metadata.tidy]";

/// The allowance of a kind in a manifest; none is 0.
pub(crate) fn allowance(root: &Path, package: &str, kind: &str) -> Result<usize, String> {
    let (path, text) = manifest(root, package)?;
    let Some((_, table)) = [PACKAGE, WORKSPACE].iter().find_map(|head| text.split_once(head)) else { return Ok(0) };
    let own = table.lines().skip(1).take_while(|line| !line.starts_with('['));
    let mut values = own.filter_map(|line| line.split_once(" = ").filter(|(name, _)| *name == kind));
    values.next().map_or(Ok(0), |(_, value)| value.trim().parse().map_err(|e| format!("{path}: {kind}: {e}")))
}

/// Writes these counts as the allowances of a package, unless one is higher than before.
pub(crate) fn lower(root: &Path, package: &str, kinds: &[(&'static str, usize)], first: bool) -> Result<(), String> {
    let (path, text) = manifest(root, package)?;
    for (kind, count) in kinds {
        let allowed = allowance(root, package, kind)?;
        if *count > allowed && !first {
            return Err(format!("{path}: {kind}: {count} found, {allowed} allowed: an allowance only falls"));
        }
    }
    let head = if package.is_empty() { WORKSPACE } else { PACKAGE };
    let written: String = kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{kind} = {n}\n")).collect();
    let table = if written.is_empty() { String::new() } else { format!("\n{head}\n{written}") };
    let new = format!("{}\n{table}", without_table(&text, head).trim_end());
    if new == text { Ok(()) } else { std::fs::write(root.join(&path), new).map_err(|e| format!("{path}: {e}")) }
}

fn without_table(text: &str, head: &str) -> String {
    let Some((before, table)) = text.split_once(head) else { return text.to_owned() };
    let rest = table.find("\n[").map_or("", |at| table.get(at..).unwrap_or_default());
    format!("{}\n{rest}", before.trim_end())
}

fn manifest(root: &Path, package: &str) -> Result<(String, String), String> {
    let path = Path::new(package).join("Cargo.toml").display().to_string();
    let text = std::fs::read_to_string(root.join(&path)).map_err(|e| format!("{path}: {e}"))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_only_falls() {
        let folder = std::env::temp_dir().join(format!("sekisho-ratchet-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a")).unwrap();
        let manifest = folder.join("a/Cargo.toml");
        std::fs::write(&manifest, "[package]\nname = \"a\"\n\n[dependencies]\nx = \"1\"\n").unwrap();
        let text = || std::fs::read_to_string(&manifest).unwrap();
        lower(&folder, "a", &[("refused-words", 3), ("long-lines", 0)], true).unwrap();
        assert_eq!(allowance(&folder, "a", "refused-words").unwrap(), 3);
        assert_eq!(allowance(&folder, "a", "long-lines").unwrap(), 0);
        assert!(lower(&folder, "a", &[("refused-words", 4)], false).unwrap_err().contains("only falls"));
        lower(&folder, "a", &[("refused-words", 2)], false).unwrap();
        assert!(text().ends_with("x = \"1\"\n\n[package.metadata.tidy]\nrefused-words = 2\n"), "{}", text());
        lower(&folder, "a", &[("refused-words", 0)], false).unwrap();
        assert_eq!(text(), "[package]\nname = \"a\"\n\n[dependencies]\nx = \"1\"\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
