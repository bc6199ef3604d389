//! Budgets for files and functions. A number here only ever goes down.

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_MEDIAN: usize = 150;
const FILE_P90: usize = 400;
const FILE_MAX: usize = 800;
const FUNCTION_MAX: usize = 70;

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in ["crates", "examples", "fuzz"] {
        collect(&root.join(folder), &mut files).map_err(|e| e.to_string())?;
    }
    let (mut out, mut lengths) = (Vec::new(), Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let test = shown.contains("/tests/") || shown.ends_with("/tests.rs");
        let lines = text.lines().count();
        if !test {
            lengths.push(lines);
        }
        if lines > FILE_MAX && !test {
            out.push(format!("{shown} has {lines} lines, more than {FILE_MAX}: split it"));
        }
        if !test {
            out.extend(long_functions(&shown, &text)?);
        }
    }
    lengths.sort_unstable();
    let at = |share: usize| lengths.get(lengths.len() * share / 100).copied().unwrap_or(0);
    if at(50) > FILE_MEDIAN {
        out.push(format!("the median file has {} lines, more than {FILE_MEDIAN}", at(50)));
    }
    if at(90) > FILE_P90 {
        out.push(format!("one file in ten has more than {} lines; {FILE_P90} is the budget", at(90)));
    }
    Ok(out)
}

pub(crate) fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() && path.ends_with("generated") {
            // Written by `cargo xtask gen`.
            continue;
        }
        if path.is_dir() {
            collect(&path, out)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
    Ok(())
}

fn long_functions(file: &str, text: &str) -> Result<Vec<String>, String> {
    let parsed = syn::parse_file(text).map_err(|e| format!("{file}: {e}"))?;
    let mut visitor = Functions { file, found: Vec::new() };
    visitor.visit_file(&parsed);
    Ok(visitor.found)
}

struct Functions<'a> {
    file: &'a str,
    found: Vec<String>,
}

impl Functions<'_> {
    fn look(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line.saturating_sub(span.start().line) + 1;
        if lines > FUNCTION_MAX {
            self.found.push(format!(
                "{}:{}: `{name}` has {lines} lines, more than {FUNCTION_MAX}",
                self.file,
                span.start().line
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.look(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.look(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
}
