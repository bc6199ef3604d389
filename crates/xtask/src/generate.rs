//! What follows from other files: wire code, the OpenAPI document and parts of documents.
//! Tests say when one is out of date.

use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- written by `cargo xtask gen` -->\n";
const END: &str = "<!-- end -->";

pub(crate) fn run(root: &Path) -> Result<Vec<String>, String> {
    crate::wire::write(root)?;
    cargo(root, "test", &["--quiet", "--package", "sekisho-server", "--lib", "openapi_document"])?;
    let parts = cargo(root, "run", &["--quiet", "--package", "sekisho-events", "--example", "reference"])?;
    let path = root.join("docs/formats.md");
    let document = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    let parts: Vec<String> = serde_json::from_slice(&parts).map_err(|e| e.to_string())?;
    let document = replaced(&document, &parts).ok_or("docs/formats.md has lost the marks of its generated parts")?;
    std::fs::write(&path, document).map_err(|e| e.to_string())?;
    // The page of metrics, alerts and dashboards.
    cargo(root, "run", &["--quiet", "--package", "lab", "--bin", "monitoring", "--", "."])?;
    Ok(vec![])
}

/// What cargo prints on stdout. The test of the OpenAPI document writes it when the variable is set.
fn cargo(root: &Path, verb: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(verb).args(arguments).current_dir(root).env("SEKISHO_WRITE_OPENAPI", "1");
    let output = cargo.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(output.stdout) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
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
