//! OPA's conformance cases: where they are, what they say, and whether one passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sekisho_rego::syntax::Options;
use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::{Number, Object, Value};
use sekisho_rego::{Binding, Compiler, Limits};
use serde::Deserialize as _;
use serde_yaml_ng::Value as Yaml;

/// 2026-11-26T00:00:00Z.
const NOW: i64 = 1_795_651_200_000_000_000;

/// The folder with OPA's test files, `v0` and `v1` below it.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("OPA_CASES") {
        return Some(PathBuf::from(folder));
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let modules = home.join("go/pkg/mod/github.com/open-policy-agent");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(modules).ok()?.flatten().map(|item| item.path()).collect();
    versions.sort();
    versions.into_iter().rev().map(|version| version.join("v1/test/cases/testdata")).find(|path| path.is_dir())
}

/// Counts the test that calls this as skipped.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Past the harness, which shows nothing of a test that passes.
    let _unread = std::io::Write::write_all(&mut std::io::stderr(), format!("\nskipped: {test}: {why}\n").as_bytes());
}

/// One case, and the category it belongs to: the folder of its file.
pub(crate) struct Case {
    pub(crate) category: String,
    pub(crate) note: String,
    yaml: Yaml,
    version: Version,
    logical: bool,
}

/// All cases below a folder.
pub(crate) fn cases(folder: &Path, version: Version, logical: bool) -> Vec<Case> {
    let mut found = Vec::new();
    for file in files(folder) {
        let category = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let Ok(document) = Yaml::deserialize(document) else { continue };
            for yaml in document.get("cases").and_then(Yaml::as_sequence).into_iter().flatten() {
                let note = yaml.get("note").and_then(Yaml::as_str).unwrap_or_default().to_owned();
                found.push(Case { category: category.clone(), note, yaml: yaml.clone(), version, logical });
            }
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let mut found: Vec<_> = items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    found.sort();
    found
}

impl Case {
    fn text(&self, field: &str) -> Option<&str> {
        self.yaml.get(field).and_then(Yaml::as_str)
    }

    fn flag(&self, field: &str) -> bool {
        self.yaml.get(field).and_then(Yaml::as_bool).unwrap_or(false)
    }

    /// Whether the case passes, or why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let outcome = self.evaluate();
        if let Some(wanted) = self.text("want_error") {
            return match outcome {
                Err(message) if message.contains(wanted) => Ok(()),
                Err(message) => Err(format!("error differs: {message}; wanted: {wanted}")),
                Ok(_) => Err(format!("no error; wanted: {wanted}")),
            };
        }
        if let Some(wanted) = self.text("want_error_code") {
            return match outcome {
                Err(message) if message.contains(wanted) => Ok(()),
                Err(message) => Err(format!("error differs: {message}; wanted: {wanted}")),
                Ok(_) => Err(format!("no error; wanted: {wanted}")),
            };
        }
        let rows = outcome?;
        let Some(wanted) = self.yaml.get("want_result") else {
            return Err("the case wants nothing".to_owned());
        };
        let wanted: BTreeSet<Value> = wanted.as_sequence().into_iter().flatten().map(value).collect();
        let found: BTreeSet<Value> = rows.into_iter().map(|row| self.row(row)).collect();
        if found == wanted {
            return Ok(());
        }
        Err(format!("found {}; wanted {}", short(&found), short(&wanted)))
    }

    fn row(&self, row: Vec<Binding>) -> Value {
        let mut members = Vec::new();
        for binding in row {
            if binding.declared {
                continue;
            }
            let mut value = plain(&binding.value);
            if self.flag("sort_bindings")
                && let Value::Array(items) = value
            {
                let mut items = items.into_vec();
                items.sort();
                value = Value::from(items);
            }
            members.push((Value::from(&*binding.name), value));
        }
        Value::Object(Object::from_vec(members))
    }

    fn evaluate(&self) -> Result<Vec<Vec<Binding>>, String> {
        let options = Options { version: self.version, logical_keywords: self.logical, ..Options::default() };
        let mut compiler = Compiler::new().options(options);
        for (at, module) in self.yaml.get("modules").and_then(Yaml::as_sequence).into_iter().flatten().enumerate() {
            let text = module.as_str().unwrap_or_default();
            compiler = compiler.module(&format!("test-{at}.rego"), text).map_err(|error| format!("parse: {error}"))?;
        }
        let policy = compiler.compile().map_err(|error| format!("compile: {error}"))?;
        let query = policy.query(self.text("query").unwrap_or_default()).map_err(|error| format!("query: {error}"))?;
        let data = self.yaml.get("data").map_or_else(Value::empty_object, value);
        let input = match self.text("input_term") {
            Some(term) => Some(term_value(term)?),
            None => self.yaml.get("input").map(value),
        };
        let limits = Limits { strict: self.flag("strict_error"), ..Limits::default() };
        query.eval(&data, input.as_ref(), NOW, &limits).map_err(|error| error.to_string())
    }
}

fn term_value(term: &str) -> Result<Value, String> {
    let policy = Compiler::new().compile().map_err(|error| error.to_string())?;
    let query = policy.query(&format!("x = {term}")).map_err(|error| format!("input term: {error}"))?;
    let rows = query.eval(&Value::empty_object(), None, NOW, &Limits::default()).map_err(|error| error.to_string())?;
    rows.into_iter().flatten().next().map(|binding| binding.value).ok_or_else(|| "the input has no value".to_owned())
}

/// As OPA turns a result into JSON: sets are arrays, keys are strings.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Set(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Object(members) => {
            let member = |(key, value): (&Value, &Value)| match key {
                Value::String(_) => (key.clone(), plain(value)),
                _ => (Value::from(plain(key).to_json()), plain(value)),
            };
            Value::Object(members.iter().map(member).collect())
        }
        _ => value.clone(),
    }
}

fn value(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(*flag),
        Yaml::Number(number) => {
            let exact = Number::parse(&number.to_string());
            let number = exact.or_else(|| number.as_f64().and_then(Number::from_f64));
            number.map_or(Value::Null, Value::Number)
        }
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect()),
        Yaml::Mapping(members) => {
            Value::Object(members.iter().map(|(key, item)| (key_text(key), value(item))).collect())
        }
        Yaml::Tagged(tagged) => value(&tagged.value),
    }
}

fn key_text(key: &Yaml) -> Value {
    match key {
        Yaml::String(text) => Value::from(text.as_str()),
        _ => Value::from(value(key).to_json()),
    }
}

fn short(rows: &BTreeSet<Value>) -> String {
    let text = rows.iter().map(Value::to_json).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text,
    }
}
