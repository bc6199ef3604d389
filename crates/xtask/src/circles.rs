//! Files of a crate use each other in one direction only: two files that need each other are one file, or lack a third.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;

/// A module that has a file: its path below the crate's root, which is empty for `lib.rs` and `main.rs`.
type Module = Vec<String>;

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for item in std::fs::read_dir(root.join("crates")).map_err(|e| e.to_string())? {
        let folder = item.map_err(|e| e.to_string())?.path();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let source = folder.join("src");
        let mut modules = BTreeMap::new();
        read(&source, &source, &mut modules)?;
        out.extend(
            circles(&modules)
                .iter()
                .map(|circle| format!("{name}: {}: move what they share into a file below them", circle.join(" ⇄ "))),
        );
    }
    Ok(out)
}

fn read(source: &Path, folder: &Path, out: &mut BTreeMap<Module, Uses>) -> Result<(), String> {
    let error = |e: std::io::Error| format!("{}: {e}", folder.display());
    for item in std::fs::read_dir(folder).map_err(error)? {
        let path = item.map_err(error)?.path();
        if path.is_dir() {
            if !path.ends_with("bin") {
                read(source, &path, out)?;
            }
            continue;
        }
        let below = path.strip_prefix(source).unwrap_or(&path).with_extension("");
        let module: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let (is_rust, last) = (path.extension().is_some_and(|e| e == "rs"), module.last().cloned().unwrap_or_default());
        if !is_rust || last.ends_with("tests") {
            continue;
        }
        let own = matches!(last.as_str(), "mod" | "lib" | "main");
        let module =
            if own { module.split_last().map(|(_, parents)| parents.to_vec()).unwrap_or_default() } else { module };
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let parsed = syn::parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut uses = Uses::default();
        uses.visit_file(&parsed);
        out.insert(module, uses);
    }
    Ok(())
}

/// What a file names: paths that begin with `crate`, `self` or `super`, or with the name of a module below it.
#[derive(Default)]
struct Uses {
    paths: BTreeSet<Vec<String>>,
    /// Names that a `use` brings into the file, with the path that each stands for.
    names: BTreeMap<String, Vec<String>>,
}

impl Uses {
    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.name(name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(name) => self.name(name.rename.to_string(), with(&name.ident)),
            syn::UseTree::Glob(_) => {
                self.paths.insert(before.to_vec());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before)),
        }
    }

    fn name(&mut self, name: String, path: Vec<String>) {
        self.paths.insert(path.clone());
        self.names.insert(name, path);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    };
    attributes.iter().any(test)
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// The file that a path leads to, seen from `from`; `None` if it leads out of the crate or to the crate's root.
fn target(modules: &BTreeMap<Module, Uses>, from: &Module, path: &[String]) -> Option<Module> {
    let (mut at, mut rest, mut anchored) = (from.clone(), path, false);
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            _ => break,
        }
        (rest, anchored) = (after, true);
    }
    for steps in 0..8 {
        while let Some((first, after)) = rest.split_first() {
            let child = [at.as_slice(), std::slice::from_ref(first)].concat();
            if !modules.contains_key(&child) {
                break;
            }
            (at, rest, anchored) = (child, after, true);
        }
        // A name that another file exports again stands for the file that it comes from.
        let exported = || modules.get(&at)?.names.get(rest.first()?);
        match exported() {
            Some(path) if anchored || steps > 0 => {
                let inside = path.first().is_some_and(|first| {
                    let child = [at.as_slice(), std::slice::from_ref(first)].concat();
                    modules.contains_key(&child)
                });
                if !inside {
                    break;
                }
                rest = path;
            }
            _ => break,
        }
    }
    (anchored && !at.is_empty() && at != *from).then_some(at)
}

/// Groups of files each of which reaches every other of its group.
fn circles(modules: &BTreeMap<Module, Uses>) -> Vec<Vec<String>> {
    let edges = |from: &Module, uses: &Uses| uses.paths.iter().filter_map(|path| target(modules, from, path)).collect();
    let edges: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().filter(|(module, _)| !module.is_empty()).map(|(from, uses)| (from, edges(from, uses))).collect();
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for to in edges.get(&module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = edges.keys().map(|from| (*from, reached(from))).collect();
    let mut groups = BTreeSet::new();
    for (from, to) in &reached {
        let back = |other: &&Module| reached.get(*other).is_some_and(|theirs| theirs.contains(*from));
        let group: BTreeSet<String> = to.iter().filter(back).map(|module| module.join("/")).collect();
        if group.len() > 1 {
            groups.insert(group.into_iter().collect::<Vec<_>>());
        }
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let module = |(name, text): &(&str, &str)| {
            let mut uses = Uses::default();
            uses.visit_file(&syn::parse_file(text).unwrap());
            (name.split('/').filter(|part| *part != "lib").map(str::to_owned).collect(), uses)
        };
        circles(&files.iter().map(module).collect())
    }

    #[test]
    fn mutual_use_of_two_files_is_a_circle() {
        let files = [("lib", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "fn f() { crate::a::g(); }")];
        assert_eq!(of(&files), [["a", "b"]]);
    }

    #[test]
    fn use_in_one_direction_is_not_a_circle() {
        let files = [("lib", "mod a; mod b;"), ("a", "use crate::b::{B, self};"), ("b", "use std::fmt;")];
        assert!(of(&files).is_empty());
    }

    #[test]
    fn a_reexported_name_leads_to_its_file() {
        let files = [("lib", "mod a; mod b; pub use a::A;"), ("a", "use crate::b::B;"), ("b", "use crate::A;")];
        assert_eq!(of(&files), [["a", "b"]]);
    }

    #[test]
    fn a_module_and_its_child_form_a_circle() {
        let files = [("lib", "mod a;"), ("a", "mod c; fn f() { c::g() }"), ("a/c", "use super::A;")];
        assert_eq!(of(&files), [["a", "a/c"]]);
        let files = [("lib", "mod a;"), ("a", "mod c; pub use c::C;"), ("a/c", "use std::fmt;")];
        assert!(of(&files).is_empty());
    }

    #[test]
    fn what_tests_use_does_not_count() {
        let b = "#[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a::A;";
        assert!(of(&[("lib", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", b)]).is_empty());
    }
}
