//! Policy as files of a folder.

use std::path::{Path, PathBuf};

use sekisho_policy::{PolicySet, Source};

use crate::exit::Failure;
use crate::reach;

/// The policy files of a folder, with their tests if those are wanted.
pub(in crate::verbs) fn read(folder: &Path, with_tests: bool) -> Result<Vec<Source>, Failure> {
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
pub(in crate::verbs) fn load(folder: &Path, with_tests: bool) -> Result<PolicySet, Failure> {
    let mut sources = read(folder, with_tests)?;
    sources.retain(|source| source.name.ends_with(".rego"));
    if sources.is_empty() {
        return Err(Failure::failed(format!("{} holds no `.rego` file", folder.display())));
    }
    PolicySet::load(sources).map_err(Failure::failed)
}

/// The `.rego` file that is named, or those in a folder and below it, in order of their names, without hidden ones.
pub(super) fn rego_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let metadata = std::fs::metadata(path).map_err(|error| reach::unreadable(path, &error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    for item in std::fs::read_dir(path).map_err(|error| reach::unreadable(path, &error))? {
        let item = item.map_err(|error| reach::unreadable(path, &error))?;
        let (path, name) = (item.path(), item.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        // A link to a folder may lead back to where it is.
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(rego_files(&path)?);
        } else if name.ends_with(".rego") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Documents of data, each with its place: those of a folder stand at the path of their folder below it.
pub(super) fn documents(path: &Path) -> Result<Vec<(Vec<String>, serde_json::Value)>, Failure> {
    let mut out = Vec::new();
    collect_documents(path, &mut Vec::new(), &mut out)?;
    Ok(out)
}

fn collect_documents(
    path: &Path,
    place: &mut Vec<String>,
    out: &mut Vec<(Vec<String>, serde_json::Value)>,
) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| reach::unreadable(path, &error);
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        let mut items =
            std::fs::read_dir(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        items.sort_by_key(std::fs::DirEntry::file_name);
        for item in items.into_iter().filter(|item| !item.file_name().to_string_lossy().starts_with('.')) {
            let is_folder = item.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                place.push(item.file_name().to_string_lossy().into_owned());
            }
            if is_folder || ending(&item.path()).is_some() {
                collect_documents(&item.path(), place, out)?;
            }
            if is_folder {
                place.pop();
            }
        }
        return Ok(());
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    match ending(path) {
        Some(Ending::Json) => out.push((place.clone(), serde_json::from_str(&text).map_err(|error| wrong(&error))?)),
        Some(Ending::Yaml) => out.push((place.clone(), serde_yaml_ng::from_str(&text).map_err(|error| wrong(&error))?)),
        None if path.extension().is_some_and(|end| end == "rego") => {}
        None => return Err(wrong(&"data is in files that end in `.json`, `.yaml` or `.yml`")),
    }
    Ok(())
}

enum Ending {
    Json,
    Yaml,
}

fn ending(path: &Path) -> Option<Ending> {
    match path.extension()?.to_str()? {
        "json" => Some(Ending::Json),
        // A table of cases is not data.
        "yaml" | "yml" if !path.to_string_lossy().ends_with("_test.yaml") => Some(Ending::Yaml),
        _ => None,
    }
}
