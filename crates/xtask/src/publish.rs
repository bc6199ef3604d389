//! `sekisho-sdk` and the crates below it can be published, in the order that its README gives.

use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::root;

const README: &str = "crates/sekisho-sdk/README.md";

fn order() -> Vec<String> {
    let text = std::fs::read_to_string(root().join(README)).unwrap();
    let (_, section) = text.split_once("## Publishing").unwrap();
    section.split("```").nth(1).unwrap().lines().skip(1).map(str::to_owned).collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

fn cargo(arguments: &[&str], target: &Path) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).args(["--offline", "--allow-dirty"]).current_dir(root()).env("CARGO_TARGET_DIR", target);
    let output = cargo.output().unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{arguments:?}: {printed}");
    printed
}

#[test]
fn each_crate_is_published_after_its_dependencies() {
    let (order, metadata) = (order(), metadata());
    let package = |name: &String| metadata.packages.iter().find(|package| package.name.as_str() == name).unwrap();
    let packages: Vec<&Package> = order.iter().map(package).collect();
    assert_eq!(order.last().map(String::as_str), Some("sekisho-sdk"));
    for (at, package) in packages.iter().enumerate() {
        let own = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal && d.path.is_some());
        for dependency in own {
            let (name, before) = (&dependency.name, order.get(..at).unwrap_or_default());
            assert!(before.contains(name), "{} needs {name}, which {README} does not list before it", package.name);
        }
    }
}

#[test]
fn crates_that_are_published_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let order = order();
    let named: Vec<&str> = order.iter().flat_map(|name| ["--package", name.as_str()]).collect();
    // Without building them from what is packed, which takes as long as a build.
    let printed = cargo(&[&["package", "--no-verify"], named.as_slice()].concat(), folder.path());
    assert!(!printed.contains("warning"), "{printed}");
    for name in &order {
        let held = cargo(&["package", "--list", "--package", name], folder.path());
        assert!(held.lines().any(|line| line == "LICENSE"), "{name}: {held}");
        assert!(folder.path().join(format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION"))).is_file());
    }
    let metadata = metadata();
    let sdk = metadata.packages.iter().find(|package| package.name.as_str() == "sekisho-sdk").unwrap();
    assert!(sdk.readme.is_some() && sdk.repository.is_some() && !sdk.keywords.is_empty() && !sdk.categories.is_empty());
}
