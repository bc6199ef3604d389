//! Markdown files of the repository and their prose.

use std::path::{Path, PathBuf};

/// All Markdown files, sorted.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut out = Vec::new();
    collect(root, &mut out).map_err(|e| e.to_string())?;
    out.sort();
    Ok(out)
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.ends_with("target") || path.ends_with("docs/book") {
            continue;
        }
        if path.is_dir() {
            collect(&path, out)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            out.push(path);
        }
    }
    Ok(())
}

/// The lines outside of fenced blocks, with their numbers and without their `code`.
pub(crate) fn prose(text: &str) -> Vec<(usize, String)> {
    let (mut out, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            out.push((number + 1, without_code(line)));
        }
    }
    out
}

/// The line without what is between backquotes, which may be doubled.
pub(crate) fn without_code(line: &str) -> String {
    line.replace("``", "`").split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The line without the targets of its links.
pub(crate) fn without_targets(line: &str) -> String {
    let mut parts = line.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + "](" + part.find(')').and_then(|end| part.get(end..)).unwrap_or(part))
}

#[cfg(test)]
mod tests {
    #[test]
    fn targets_of_links_are_left_out() {
        assert_eq!(super::without_targets("a [b](c/d.md) e [f](g) h"), "a [b]() e [f]() h");
    }

    #[test]
    fn code_is_not_prose() {
        let found = super::prose("one `told` two\n```sh\ntold\n```\nthree\n");
        assert_eq!(found, [(1, "one ` two".to_owned()), (5, "three".to_owned())]);
    }
}
