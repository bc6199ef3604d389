//! Which branch of a `select!` takes precedence is written down. Without `biased` tokio draws it, from a source that no
//! seed reaches: a simulation would not be the same twice, and a reader would not know what happens when two branches
//! are ready.

use std::path::Path;

use crate::tidy::collect;

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in ["crates", "examples", "fuzz"] {
        collect(&root.join(folder), &mut files).map_err(|error| format!("{folder}: {error}"))?;
    }
    let mut out = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let say = |line| format!("{shown}:{line}: begin this `select!` with `biased;`, in the order that should win");
        out.extend(drawn(&text).into_iter().map(say));
    }
    Ok(out)
}

/// The lines of those that do not say their order.
fn drawn(text: &str) -> Vec<usize> {
    let code = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let code: Vec<_> = code.filter(|(_, line)| !line.starts_with("//") && !line.is_empty()).collect();
    let next = code.iter().skip(1).map(|(_, line)| *line).chain([""]);
    let opens = |line: &str| line.contains(concat!("select", "! {"));
    let drawn = code.iter().zip(next).filter(|((_, line), next)| opens(line) && *next != "biased;");
    drawn.map(|((number, _), _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_without_its_order_is_found() {
        let select = concat!("select", "! {");
        let of = |body: &str| drawn(&format!("fn f() {{\n    tokio::{select}\n{body}    }}\n}}\n"));
        assert!(of("        // The newest.\n        biased;\n        () = a => {}\n").is_empty());
        assert_eq!(of("        () = a => {}\n        biased;\n"), vec![2]);
        assert!(drawn(&format!("// {select}\n")).is_empty());
    }
}
