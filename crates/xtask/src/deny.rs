//! Licences of everything that is built in, from the manifests that are on this machine. Advisories need a database
//! from the network, so they are not looked up here.

use std::path::Path;

use cargo_metadata::MetadataCommand;
use spdx::{Expression, LicenseReq, ParseMode};

/// A dependency's licence expression (SPDX) must hold with these: all licences of an `AND`, one of an `OR`.
const ACCEPTED: [&str; 14] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
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

/// Exceptions to a licence only ever grant more; this one is known to.
const EXCEPTION: &str = "LLVM-exception";

/// Whether a licence expression holds with what we accept. `MIT/Apache-2.0` is how older manifests write `OR`.
fn judged(licence: &str) -> Result<(), String> {
    let expression =
        Expression::parse_mode(licence, ParseMode::LAX).map_err(|e| format!("not an SPDX expression: {}", e.reason))?;
    let accepted = |requirement: &LicenseReq| {
        let known = requirement.license.id().is_some_and(|id| ACCEPTED.contains(&id.name));
        known && requirement.addition.as_ref().is_none_or(|addition| addition.to_string() == EXCEPTION)
    };
    if expression.evaluate(accepted) {
        Ok(())
    } else {
        Err("it does not hold with the licences in crates/xtask/src/deny.rs".to_owned())
    }
}

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
        if let Err(reason) = judged(&licence) {
            out.push(format!("`{}` has the licence `{licence}`: {reason}", package.name));
        }
        if let Some((_, why)) = BANNED.iter().find(|(name, _)| *name == package.name.as_str()) {
            out.push(format!("`{}` may not be used: {why}", package.name));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MIT AND GPL-3.0-only` was accepted, since one of its words was on the list.
    #[test]
    fn licences_joined_by_and_are_all_needed() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0-only",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
            "ISC AND (Apache-2.0 OR ISC) AND OpenSSL",
        ] {
            assert_eq!(judged(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "MIT AND GPL-3.0-only",
            "GPL-3.0-only",
            "MIT AND (GPL-2.0-only OR LGPL-3.0-or-later)",
            "Apache-2.0 WITH Classpath-exception-2.0",
            "MIT AND LicenseRef-ours",
            "no licence at all",
        ] {
            assert!(judged(bad).is_err(), "{bad}");
        }
    }
}
