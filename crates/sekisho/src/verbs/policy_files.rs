//! Policy as files of a folder.

use std::path::Path;

use sekisho_policy::{PolicySet, Source};

use crate::exit::Failure;
use crate::reach;

/// The policy files of a folder, with their tests if those are wanted.
pub(super) fn read(folder: &Path, with_tests: bool) -> Result<Vec<Source>, Failure> {
    let error = |e: std::io::Error| reach::unreadable(folder, &e);
    let mut sources = Vec::new();
    for item in std::fs::read_dir(folder).map_err(error)? {
        let path = item.map_err(error)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let test = name.ends_with("_test.rego") || name.ends_with("_test.yaml");
        let wanted = !name.starts_with('.') && if test { with_tests } else { name.ends_with(".rego") };
        if wanted {
            sources
                .push(Source { name, text: std::fs::read_to_string(&path).map_err(|e| reach::unreadable(&path, &e))? });
        }
    }
    Ok(sources)
}

/// The policy that a folder holds.
pub(super) fn load(folder: &Path, with_tests: bool) -> Result<PolicySet, Failure> {
    let mut sources = read(folder, with_tests)?;
    sources.retain(|source| source.name.ends_with(".rego"));
    if sources.is_empty() {
        return Err(Failure::failed(format!("{} holds no `.rego` file", folder.display())));
    }
    PolicySet::load(sources).map_err(Failure::failed)
}
