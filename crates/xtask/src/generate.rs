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
    let written = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
    let document = replaced(&document, &written).ok_or("docs/formats.md has lost the marks of its generated part")?;
    std::fs::write(&path, document).map_err(|e| e.to_string())?;
    Ok(vec![])
}

fn replaced(document: &str, written: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{written}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_of_a_document_is_replaced() {
        let document = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(replaced(&document, "new\n"), Some(format!("a\n{BEGIN}new\n{END}\nb\n")));
        assert_eq!(replaced("a\nb\n", "new\n"), None);
    }
}
