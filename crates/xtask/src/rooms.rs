//! Dependencies go down only (`ARCHITECTURE.md`, floors).

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const WORDS: &[&str] = &["sekisho-types"];
const RULES: &[&str] = &["sekisho-identity", "sekisho-jose", "sekisho-evidence", "sekisho-policy", "sekisho-ledger"];
const EDGES: &[&str] = &[
    "sekisho-proto",
    "sekisho-store",
    "sekisho-disk",
    "sekisho-net",
    "sekisho-host",
    "sekisho-keys",
    "sekisho-runtime",
];
const LIBRARY: &[&str] = &["sekisho-sdk"];
const PROGRAMS: &[&str] = &["sekisho-server", "sekisho-agent", "sekisho-proxy"];
const BINARY: &[&str] = &["sekisho"];
/// They see every floor, and no floor sees them.
const WORKSHOP: &[&str] = &["lab", "xtask", "fuzz", "payments"];
const FLOORS: [&[&str]; 6] = [WORDS, RULES, EDGES, LIBRARY, PROGRAMS, BINARY];

/// What only one room may name.
const OWNED: [(&str, &[&str]); 7] = [
    ("rustls", &["sekisho-net"]),
    ("tokio-rustls", &["sekisho-net"]),
    ("rusqlite", &["sekisho-store"]),
    ("regorus", &["sekisho-policy"]),
    ("tonic-prost-build", &["sekisho-proto"]),
    ("clap_complete", &["sekisho"]),
    ("clap_mangen", &["sekisho"]),
];

/// What a rules room may not have: it takes values and returns values.
const IMPURE: [&str; 6] = ["tokio", "hyper", "tonic", "rustix", "rusqlite", "tracing"];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let manifest = root.join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().map_err(|e| e.to_string())?;
    Ok(findings(&metadata))
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

fn findings(metadata: &Metadata) -> Vec<String> {
    let mut out = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let floor = floor_of(name);
        if floor.is_none() && !WORKSHOP.contains(&name) {
            out.push(format!(
                "`{name}` stands on no floor: name it in crates/xtask/src/rooms.rs and in ARCHITECTURE.md"
            ));
        }
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let on = dependency.name.as_str();
            if let (Some(from), Some(to)) = (floor, floor_of(on))
                && to >= from
            {
                out.push(format!("`{name}` depends on `{on}`, which is not below it: move the shared part down"));
            }
            if floor.is_some() && WORKSHOP.contains(&on) {
                out.push(format!("`{name}` depends on `{on}`: the workshop is seen by no floor"));
            }
            if let Some((_, owners)) = OWNED.iter().find(|(owned, _)| *owned == on)
                && !owners.contains(&name)
                && !WORKSHOP.contains(&name)
            {
                out.push(format!("`{name}` names `{on}`, which only {owners:?} may"));
            }
            if RULES.contains(&name) && IMPURE.contains(&on) {
                out.push(format!("`{name}` is a rules room and may not use `{on}`"));
            }
        }
    }
    out
}
