//! Licences of everything that is built in, from the manifests that are on this machine. Advisories need a database
//! from the network, so they are not looked up here.

use std::path::Path;

use cargo_metadata::MetadataCommand;

/// A dependency's licence expression must offer one of these.
const ACCEPTED: [&str; 13] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "MPL-2.0",
    "0BSD",
    "CDLA-Permissive-2.0",
    "OpenSSL",
];

/// Never in our tree: `rsa` (RUSTSEC-2023-0071, no patched version) and a second TLS stack. `ring` is not listed here
/// because the metadata names it for features that are off; `cargo tree -i ring` shows that it is not built.
const BANNED: [(&str, &str); 2] = [("rsa", "RSA keys go through aws-lc-rs"), ("openssl-sys", "TLS is rustls")];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).exec().map_err(|e| e.to_string())?;
    let nodes = metadata.resolve.map(|resolve| resolve.nodes).unwrap_or_default();
    // The lock file also names packages that no enabled feature reaches; those are not built.
    let mut used = metadata.workspace_members.clone();
    let mut at = 0;
    while let Some(id) = used.get(at).cloned() {
        let node = nodes.iter().find(|node| node.id == id);
        for dependency in node.into_iter().flat_map(|node| &node.deps) {
            if !used.contains(&dependency.pkg) {
                used.push(dependency.pkg.clone());
            }
        }
        at += 1;
    }
    let mut out = Vec::new();
    for package in metadata.packages.iter().filter(|package| used.contains(&package.id)) {
        let licence = package.license.clone().unwrap_or_default();
        let words: Vec<&str> = licence.split(|c: char| c.is_whitespace() || "()/".contains(c)).collect();
        if !words.iter().any(|word| ACCEPTED.contains(word)) {
            out.push(format!(
                "`{}` has the licence `{licence}`, which is not on the list in crates/xtask/src/deny.rs",
                package.name
            ));
        }
        if let Some((_, why)) = BANNED.iter().find(|(name, _)| *name == package.name.as_str()) {
            out.push(format!("`{}` may not be used: {why}", package.name));
        }
    }
    Ok(out)
}
