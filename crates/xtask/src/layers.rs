//! Dependencies go down only (`ARCHITECTURE.md`, layers).

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const WORDS: &[&str] = &["sekisho-types"];
/// Rules as well: the language of policies, of use without the rest.
const LANGUAGE: &[&str] = &["sekisho-rego"];
/// Rules as well: what others judge, made here only.
const EVIDENCE: &[&str] = &["sekisho-evidence"];
const RULES: &[&str] = &["sekisho-identity", "sekisho-jose", "sekisho-policy", "sekisho-ledger"];
/// Rules as well: what is recorded of those below.
const RECORDS: &[&str] = &["sekisho-events"];
/// What a program asks of its machine, real or simulated.
const PORTS: &[&str] = &["sekisho-ports"];
const EDGES: &[&str] = &[
    "sekisho-proto",
    "sekisho-api",
    "sekisho-store",
    "sekisho-disk",
    "sekisho-net",
    "sekisho-host",
    "sekisho-kernel",
    "sekisho-tpm",
    "sekisho-keys",
    "sekisho-runtime",
];
const LIBRARY: &[&str] = &["sekisho-sdk"];
const PROGRAMS: &[&str] = &["sekisho-server", "sekisho-agent", "sekisho-proxy"];
const BINARY: &[&str] = &["sekisho"];
/// They see every layer, and no layer sees them.
const TOOLS: &[&str] = &["lab", "lab-vm", "xtask", "fuzz", "fuzz-rego", "payments"];
const LAYERS: [&[&str]; 10] = [WORDS, LANGUAGE, EVIDENCE, RULES, RECORDS, PORTS, EDGES, LIBRARY, PROGRAMS, BINARY];

/// What only one crate may name.
const OWNED: [(&str, &[&str]); 6] = [
    ("rustls", &["sekisho-net"]),
    ("tokio-rustls", &["sekisho-net"]),
    ("rusqlite", &["sekisho-store"]),
    ("tonic-prost-build", &["sekisho-proto"]),
    ("clap_complete", &["sekisho"]),
    ("clap_mangen", &["sekisho"]),
];

/// What makes clocks and randomness settable. Only the lab and tests may enable it, so that no shipped program has it.
const SIMULATION: &str = "simulation";

/// What a rules crate may not have: it takes values and returns values.
const IMPURE: [&str; 6] = ["tokio", "hyper", "tonic", "rustix", "rusqlite", "tracing"];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let manifest = root.join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().map_err(|e| e.to_string())?;
    Ok(findings(&metadata))
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn findings(metadata: &Metadata) -> Vec<String> {
    let mut out = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let layer = layer_of(name);
        if layer.is_none() && !TOOLS.contains(&name) {
            out.push(format!(
                "`{name}` belongs to no layer: name it in crates/xtask/src/layers.rs and in ARCHITECTURE.md"
            ));
        }
        for (feature, enables) in &package.features {
            if feature != SIMULATION && enables.iter().any(|other| other.split('/').any(|part| part == SIMULATION)) {
                out.push(format!("feature `{feature}` of `{name}` enables `{SIMULATION}`: only the lab may"));
            }
        }
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let on = dependency.name.as_str();
            if let (Some(from), Some(to)) = (layer, layer_of(on))
                && to >= from
            {
                out.push(format!("`{name}` depends on `{on}`, which is not below it: move the shared part down"));
            }
            if layer.is_some() && TOOLS.contains(&on) {
                out.push(format!("`{name}` depends on `{on}`: a layer does not use the tools"));
            }
            if let Some((_, owners)) = OWNED.iter().find(|(owned, _)| *owned == on)
                && !owners.contains(&name)
                && !TOOLS.contains(&name)
            {
                out.push(format!("`{name}` names `{on}`, which only {owners:?} may"));
            }
            if name != "lab" && dependency.features.iter().any(|feature| feature == SIMULATION) {
                out.push(format!(
                    "`{name}` enables `{SIMULATION}` of `{on}`: a program that is shipped may not simulate its machine"
                ));
            }
            if [LANGUAGE, EVIDENCE, RULES, RECORDS].iter().any(|layer| layer.contains(&name)) && IMPURE.contains(&on) {
                out.push(format!("`{name}` is a rules crate and may not use `{on}`"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is built alone, as `make up` and a release build it, has no simulated machine: no feature of
    /// `sekisho-ports` is enabled.
    #[test]
    fn programs_that_are_shipped_cannot_simulate_their_machine() {
        let tree = |package: &str| {
            let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p} {f}"]);
            let output = cargo.args(["--package", package]).current_dir(crate::root()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let simulates = |package| {
            let tree = tree(package);
            let ports: Vec<&str> = tree.lines().filter(|line| line.starts_with("sekisho-ports ")).collect();
            assert!(!ports.is_empty(), "{tree}");
            ports.iter().any(|line| line.contains(SIMULATION))
        };
        assert!(!simulates("sekisho"));
        assert!(simulates("lab"));
    }
}
