//! Rego files and documents of data together, for verbs that are not about requests.

use std::path::{Path, PathBuf};

use sekisho_policy::{Source, parse};
use sekisho_rego::syntax::ast::Module;
use sekisho_rego::syntax::error::Error;
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Policy};
use sekisho_runtime::instant;
use serde_json::Map;
use tokio::time::Instant;

use super::files::{documents, rego_files};
use crate::exit::Failure;
use crate::reach;

/// What a query is evaluated against.
pub(super) struct Workspace {
    pub(super) policy: Policy,
    pub(super) data: Value,
    /// Nanoseconds that each part of the loading took, by OPA's names.
    pub(super) timers: Vec<(&'static str, u64)>,
}

/// Rego files, parsed.
pub(super) struct Parsed {
    pub(super) modules: Vec<Module>,
    pub(super) read_nanos: u64,
    pub(super) parse_nanos: u64,
}

/// The `.rego` files that are named, and those in and below folders that are.
pub(super) fn modules<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Parsed, Failure> {
    let (mut modules, start) = (Vec::new(), instant());
    let mut sources = Vec::new();
    for path in paths {
        for file in rego_files(path)? {
            let text = std::fs::read_to_string(&file).map_err(|error| reach::unreadable(&file, &error))?;
            sources.push(Source { name: file.display().to_string(), text });
        }
    }
    let (read_nanos, start) = (nanos(start), instant());
    for source in &sources {
        modules.push(parse(source).map_err(Failure::failed)?.1);
    }
    Ok(Parsed { modules, read_nanos, parse_nanos: nanos(start) })
}

impl Workspace {
    /// The `.rego` files of a folder, or one file, and documents of data. A folder of data may hold `.rego` files too.
    pub(super) fn load(folder: &Path, data: &[PathBuf]) -> Result<Self, Failure> {
        let folder = folder.to_owned();
        let with_rego = data.iter().filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rego"));
        let parsed = modules(std::iter::once(&folder).chain(with_rego))?;
        if parsed.modules.is_empty() {
            return Err(Failure::failed(format!("{} holds no `.rego` file", folder.display())));
        }
        let data = self::data(data)?;
        let start = instant();
        let compiler = parsed.modules.into_iter().fold(Compiler::new().prints(true), Compiler::parsed);
        let policy = compiler.compile().map_err(Failure::failed)?;
        let timers = vec![
            ("timer_rego_load_files_ns", parsed.read_nanos),
            ("timer_rego_module_parse_ns", parsed.parse_nanos),
            ("timer_rego_module_compile_ns", nanos(start)),
        ];
        Ok(Self { policy, data, timers })
    }
}

/// Refuses modules with a metadata block that cannot be read.
pub(super) fn readable_annotations(modules: &[Module]) -> Result<(), Failure> {
    let broken: Vec<String> = modules.iter().flat_map(|module| &module.annotation_errors).map(Error::render).collect();
    if broken.is_empty() { Ok(()) } else { Err(Failure::failed(broken.join("\n"))) }
}

/// Documents of data in one.
pub(super) fn data(paths: &[PathBuf]) -> Result<Value, Failure> {
    let mut all = serde_json::Value::Object(Map::new());
    for path in paths {
        for (place, document) in documents(path)? {
            let merged = merge(&mut all, &place, document);
            merged.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        }
    }
    Value::from_json(&all.to_string()).map_err(Failure::failed)
}

/// Nanoseconds since a moment.
pub(super) fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The input in a file, as JSON or YAML; `-` is stdin.
pub(super) fn input(path: &Path) -> Result<Value, Failure> {
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(|error| reach::unreadable(path, &error))?;
    let wrong = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
        let value: serde_json::Value = serde_yaml_ng::from_str(&text).map_err(|error| wrong(&error))?;
        return Value::from_json(&value.to_string()).map_err(|error| wrong(&error));
    }
    Value::from_json(&text).map_err(|error| wrong(&format!("the input is not JSON: {error}")))
}

/// Puts a document at a place. Objects are merged; two values for one place are an error.
fn merge(all: &mut serde_json::Value, place: &[String], document: serde_json::Value) -> Result<(), String> {
    let mut document = document;
    for key in place.iter().rev() {
        document = serde_json::Value::Object(Map::from_iter([(key.clone(), document)]));
    }
    let mut waiting = vec![(all, document, String::from("data"))];
    while let Some((into, from, path)) = waiting.pop() {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                let known: Vec<String> = from.keys().filter(|key| into.contains_key(*key)).cloned().collect();
                let mut both = Vec::new();
                for (key, value) in from {
                    if known.contains(&key) { both.push((key, value)) } else { drop(into.insert(key, value)) }
                }
                for (key, value) in into.iter_mut() {
                    if let Some(at) = both.iter().position(|(name, _)| name == key) {
                        let (name, from) = both.swap_remove(at);
                        waiting.push((value, from, format!("{path}.{name}")));
                    }
                }
            }
            (into, from) if *into == from => {}
            _ => return Err(format!("two documents give {path} different values")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn documents_merge_below_their_places() {
        let mut all = json!({});
        merge(&mut all, &[], json!({"a": {"b": 1}})).unwrap();
        merge(&mut all, &["a".to_owned()], json!({"c": [2]})).unwrap();
        merge(&mut all, &["a".to_owned()], json!({"b": 1})).unwrap();
        assert_eq!(all, json!({"a": {"b": 1, "c": [2]}}));
        let error = merge(&mut all, &["a".to_owned()], json!({"c": 3})).unwrap_err();
        assert_eq!(error, "two documents give data.a.c different values");
    }
}
