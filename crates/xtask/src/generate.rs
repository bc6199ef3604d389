//! The parts of documents that follow from code; tests beside that code say when they are out of date.

use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- written by `cargo xtask gen` -->\n";
const END: &str = "<!-- end -->";

pub(crate) fn run(root: &Path) -> Result<Vec<String>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let example = ["run", "--quiet", "--package", "sekisho-events", "--example", "reference"];
    let output = Command::new(cargo).args(example).current_dir(root).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let path = root.join("docs/formats.md");
    let document = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    let parts: Vec<String> = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let document = replaced(&document, &parts).ok_or("docs/formats.md has lost the marks of its generated parts")?;
    std::fs::write(&path, document).map_err(|e| e.to_string())?;
    Ok(vec![])
}

/// The document with these in the places of its marked parts, one after the other.
fn replaced(document: &str, parts: &[String]) -> Option<String> {
    let (mut out, mut left) = (String::new(), document);
    for part in parts {
        let (before, rest) = left.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        out += &format!("{before}{BEGIN}{part}{END}");
        left = after;
    }
    Some(out + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_parts_of_a_document_change() {
        let document = |one: &str, two: &str| format!("a\n{BEGIN}{one}\n{END}\nb\n{BEGIN}{two}\n{END}\nc\n");
        let parts = ["new\n".to_owned(), "also new\n".to_owned()];
        assert_eq!(replaced(&document("old", "older"), &parts), Some(document("new", "also new")));
        assert_eq!(replaced("a\nb\n", &parts), None);
    }
}
