//! `sekisho policy inspect`: what is in Rego files, without evaluating any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use sekisho_rego::syntax::ast::{Annotation, HeadKind, Module, Rule, Target, each_call};
use serde::Serialize;
use serde_json::json;

use super::answers::as_json;
use super::workspace::{modules, readable_annotations};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, print, printable, table};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Files, and folders with `.rego` files in them and below
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// List metadata annotations as well
    #[arg(short, long, env = "SEKISHO_POLICY_ANNOTATIONS")]
    annotations: bool,
}

/// A document that rules define.
#[derive(Serialize)]
struct Defined {
    path: String,
    kind: &'static str,
    file: String,
    line: u32,
    rules: usize,
}

/// A metadata block.
#[derive(Serialize)]
struct Noted {
    path: String,
    file: String,
    row: u32,
    col: u32,
    annotations: serde_json::Value,
}

pub(super) fn run(global: &Global, args: &InspectArgs) -> Result<Exit, Failure> {
    let parsed = modules(&args.paths)?.modules;
    if args.annotations {
        readable_annotations(&parsed)?;
    }
    let mut namespaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for module in &parsed {
        namespaces.entry(package(module)).or_default().push(module.source.file.to_string());
    }
    let rules = defined(&parsed);
    let notes: Vec<Noted> = parsed.iter().flat_map(noted).collect();
    let mut builtins = BTreeSet::new();
    for module in &parsed {
        each_call(module, &mut |name| {
            if sekisho_rego::builtins::lookup(&name).is_some() {
                builtins.insert(name);
            }
        });
    }
    let mut shown = json!({"namespaces": namespaces, "rules": rules, "builtins": builtins});
    if let (true, Some(members)) = (args.annotations, shown.as_object_mut()) {
        members.insert("annotations".to_owned(), json!(notes));
    }
    print(global.output, &shown, || {
        let mut text = format!("{}\n\n{}", packages_text(&namespaces), rules_text(&rules));
        if args.annotations {
            text.push_str(&format!("\n\n{}", notes_text(&notes)));
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn package(module: &Module) -> String {
    let names = module.package.path.iter().map(|name| sekisho_rego::value::Value::from(&*name.text));
    let path: Vec<_> = std::iter::once(sekisho_rego::value::Value::from("data")).chain(names).collect();
    super::deps::reference(&path)
}

/// The name of a rule as it is written, without its value.
fn rule_name(module: &Module, rule: &Rule) -> String {
    let parts = rule.head.path.iter().map(|part| {
        let text = part.term.span.text(&module.source.text);
        if part.dot { format!(".{text}") } else { format!("[{text}]") }
    });
    format!("{}{}", rule.head.name.text, parts.collect::<String>())
}

fn defined(modules: &[Module]) -> Vec<Defined> {
    let mut found: BTreeMap<String, Defined> = BTreeMap::new();
    for module in modules {
        for rule in &module.rules {
            let path = format!("{}.{}", package(module), rule_name(module, rule));
            let kind = match &rule.head.kind {
                HeadKind::Function { .. } => "function",
                HeadKind::Set { .. } => "set",
                HeadKind::Value(_) if rule.head.path.iter().any(|part| part.term.as_str().is_none()) => "object",
                HeadKind::Value(_) => "value",
            };
            let (file, line) = (module.source.file.to_string(), rule.span.line);
            let new = || Defined { path: path.clone(), kind, file, line, rules: 0 };
            found.entry(path.clone()).or_insert_with(new).rules += 1;
        }
    }
    found.into_values().collect()
}

fn noted(module: &Module) -> Vec<Noted> {
    let place = |annotation: &Annotation| match annotation.target {
        Target::Package => package(module),
        Target::Rule(at) => match module.rules.get(at) {
            Some(rule) => format!("{}.{}", package(module), rule_name(module, rule)),
            None => package(module),
        },
    };
    let note = |annotation: &Annotation| Noted {
        path: place(annotation),
        file: module.source.file.to_string(),
        row: annotation.span.line,
        col: annotation.span.column,
        annotations: as_json(&annotation.value),
    };
    module.annotations.iter().map(note).collect()
}

fn packages_text(namespaces: &BTreeMap<String, Vec<String>>) -> String {
    let rows: Vec<(&String, &String)> =
        namespaces.iter().flat_map(|(name, files)| files.iter().map(move |file| (name, file))).collect();
    let columns: [Column<'_, (&String, &String)>; 2] =
        [("PACKAGE", &|row| row.0.clone()), ("FILE", &|row| row.1.clone())];
    table(&rows, &columns)
}

fn rules_text(rules: &[Defined]) -> String {
    let columns: [Column<'_, Defined>; 4] = [
        ("RULE", &|row| row.path.clone()),
        ("KIND", &|row| row.kind.to_owned()),
        ("BODIES", &|row| row.rules.to_string()),
        ("PLACE", &|row| format!("{}:{}", row.file, row.line)),
    ];
    table(rules, &columns)
}

fn notes_text(notes: &[Noted]) -> String {
    let member = |row: &Noted, name: &str| {
        let text =
            row.annotations.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        printable(&text.unwrap_or_default())
    };
    let columns: [Column<'_, Noted>; 5] = [
        ("ANNOTATED", &|row| row.path.clone()),
        ("SCOPE", &|row| member(row, "scope")),
        ("TITLE", &|row| member(row, "title")),
        ("DESCRIPTION", &|row| member(row, "description")),
        ("PLACE", &|row| format!("{}:{}", row.file, row.row)),
    ];
    table(notes, &columns)
}
