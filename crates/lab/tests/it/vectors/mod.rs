//! Shared test vectors. Files and expected answers both come from the folder that `SEKISHO_VECTORS` names;
//! where it is absent these tests say so and pass.

mod attestation;
mod bundles;
mod jwt;
mod tlog;

use std::path::PathBuf;

/// The folder `name` of the vectors, or `None` with a printed line.
pub fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SEKISHO_VECTORS")
        .map_or_else(|| crate::world::manifest_folder().join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    crate::world::skipped(&format!("no test vectors at {}; set SEKISHO_VECTORS to their folder", folder.display()));
    None
}

fn json(path: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
