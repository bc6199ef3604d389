//! The names a module can use without declaring them: its package's rules and its imports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::syntax::ast::{Import, Module};

/// What a global name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Global {
    /// `data` or `input`, then the path.
    pub(crate) path: Vec<Arc<str>>,
    /// The import's index, if an import binds the name.
    pub(crate) import: Option<usize>,
}

pub(crate) type Globals = BTreeMap<Arc<str>, Global>;

/// The names of the rules of each package.
pub(crate) fn exports(modules: &[Module]) -> BTreeMap<Vec<Arc<str>>, BTreeSet<Arc<str>>> {
    let mut exports: BTreeMap<Vec<Arc<str>>, BTreeSet<Arc<str>>> = BTreeMap::new();
    for module in modules {
        let names = exports.entry(package_path(module)).or_default();
        names.extend(module.rules.iter().map(|rule| rule.head.name.text.clone()));
    }
    exports
}

pub(crate) fn package_path(module: &Module) -> Vec<Arc<str>> {
    module.package.path.iter().map(|name| name.text.clone()).collect()
}

/// The globals of a module.
pub(crate) fn globals(module: &Module, rules: Option<&BTreeSet<Arc<str>>>) -> Globals {
    let mut globals = Globals::new();
    let data: Arc<str> = Arc::from("data");
    let package: Vec<Arc<str>> = std::iter::once(data).chain(package_path(module)).collect();
    for name in rules.into_iter().flatten() {
        let path = package.iter().chain(std::iter::once(name)).cloned().collect();
        globals.insert(name.clone(), Global { path, import: None });
    }
    add_imports(&module.imports, &mut globals);
    globals
}

/// The globals of a query in a package.
pub(crate) fn for_query(package: &[Arc<str>], imports: &[Import], rules: Option<&BTreeSet<Arc<str>>>) -> Globals {
    let mut globals = Globals::new();
    for name in rules.into_iter().flatten() {
        let data: Arc<str> = Arc::from("data");
        let path = std::iter::once(&data).chain(package).chain([name]).cloned().collect();
        globals.insert(name.clone(), Global { path, import: None });
    }
    add_imports(imports, &mut globals);
    globals
}

fn add_imports(imports: &[Import], globals: &mut Globals) {
    for (index, import) in imports.iter().enumerate().filter(|(_, import)| import.binds()) {
        if let Some(name) = import.name() {
            let path = import.path.iter().map(|name| name.text.clone()).collect();
            globals.insert(name.text.clone(), Global { path, import: Some(index) });
        }
    }
}
