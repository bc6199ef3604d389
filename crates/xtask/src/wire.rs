//! The Rust code of our protobuf messages and services: generated from `proto/` and checked in, so that a build of
//! Sekisho needs no generator. No protoc is needed either.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;

const GENERATED: &str = "crates/sekisho-proto/generated";
const FILES: [&str; 10] = [
    "spiffe/workload/workload.proto",
    "spire/api/types/types.proto",
    "spire/api/server/agent/v1/agent.proto",
    "spire/api/server/bundle/v1/bundle.proto",
    "spire/api/server/entry/v1/entry.proto",
    "spire/api/server/svid/v1/svid.proto",
    "sekisho/server/v1/server.proto",
    "sekisho/node/v1/node.proto",
    "envoy/service/secret/v3/sds.proto",
    "envoy/extensions/transport_sockets/tls/v3/secret.proto",
];

/// Writes the generated files anew.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let folder = root.join(GENERATED);
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let files = generate(root)?;
    for stale in read(&folder)?.keys().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(folder.join(stale)).map_err(failed)?;
    }
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes)).map_err(failed)
}

/// The generated files that are not what `proto/` now says.
#[cfg(test)]
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let (wanted, present) = (generate(root)?, read(&root.join(GENERATED))?);
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(present.keys()).collect();
    let changed = names.into_iter().filter(|name| wanted.get(*name) != present.get(*name));
    Ok(changed.map(|name| format!("{GENERATED}/{name} is out of date: run `cargo xtask gen`")).collect())
}

type Files = BTreeMap<String, Vec<u8>>;

fn generate(root: &Path) -> Result<Files, String> {
    let descriptors = protox::compile(FILES, [root.join("proto")]).map_err(|e| e.to_string())?;
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let descriptor_bytes = descriptors.encode_to_vec();
    tonic_prost_build::configure()
        .build_transport(false)
        .include_file("wire.rs")
        .codec_path("crate::SizedCodec")
        // Records pass through an agent as they came: not copied, not read as text.
        .bytes(".sekisho.server.v1.RecordRequest.records")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .map_err(|e| e.to_string())?;
    let mut files = read(out.path())?;
    files.insert("descriptors.bin".to_owned(), descriptor_bytes);
    Ok(files)
}

fn read(folder: &Path) -> Result<Files, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut files = Files::new();
    for item in std::fs::read_dir(folder).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, std::fs::read(&path).map_err(failed)?);
    }
    Ok(files)
}
