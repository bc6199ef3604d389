//! `sekisho policy check`: what a server would refuse of a folder.

use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_policy::{Dialect, Source};
use sekisho_rego::check::{self, Schemas, check_with};
use sekisho_rego::syntax::error::Error;
use sekisho_rego::value::Value;
use serde::Serialize;
use serde_json::json;

use super::files::load;
use super::workspace::readable_annotations;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::print;
use crate::reach;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder with the `.rego` files
    folder: PathBuf,
    /// JSON Schema of the input, or a folder of schemas that annotations name: `schema.a.b` is `a/b.json`
    #[arg(short, long, env = "SEKISHO_POLICY_SCHEMA")]
    schema: Option<PathBuf>,
}

/// A policy file and its dialect, as they are shown.
#[derive(Serialize)]
struct CheckedFile {
    name: String,
    rego: &'static str,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Failure> {
    let set = load(&args.folder, false)?;
    if let Some(path) = &args.schema {
        readable_annotations(set.modules())?;
        let schemas = schemas(path)?;
        check_with(set.modules(), check::Options::default(), &schemas)
            .map_err(|errors| Failure::failed(errors.iter().map(Error::render).collect::<Vec<_>>().join("\n")))?;
    }
    let digest = set.digest().to_string();
    let row = |(source, version): (&Source, Dialect)| CheckedFile { name: source.name.clone(), rego: version.as_str() };
    let files: Vec<CheckedFile> = set.dialects().map(row).collect();
    print(global.output, &json!({"files": files, "digest": digest}), || {
        let line = |file: &CheckedFile| format!("{}: Rego {}\n", file.name, file.rego);
        format!("{}ok: {} files, {digest}", files.iter().map(line).collect::<String>(), files.len())
    })?;
    Ok(Exit::Ok)
}

/// The schemas of a file or a folder.
fn schemas(path: &Path) -> Result<Schemas, Failure> {
    let mut found = Schemas::new();
    if path.is_dir() {
        add_folder(path, &mut Vec::new(), &mut found)?;
    } else {
        add_file(path, &[], &mut found)?;
    }
    Ok(found)
}

fn add_folder(folder: &Path, names: &mut Vec<String>, found: &mut Schemas) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| reach::unreadable(folder, &error);
    for item in std::fs::read_dir(folder).map_err(unreadable)? {
        let item = item.map_err(unreadable)?;
        let path = item.path();
        names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_folder(&path, names, found)?;
        } else if path.extension().is_some_and(|ending| ending == "json") {
            add_file(&path, names, found)?;
        }
        names.pop();
    }
    Ok(())
}

fn add_file(path: &Path, names: &[String], found: &mut Schemas) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| reach::unreadable(path, &error))?;
    let wrong = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    let schema = Value::from_json(&text).map_err(|error| wrong(&error))?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    found.add(&names, &schema).map_err(|error| wrong(&error))
}
