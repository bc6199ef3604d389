//! Generates the wire types from `proto/`. No protoc is needed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    let files = [
        "spiffe/workload/workload.proto",
        "spire/api/types/types.proto",
        "spire/api/server/agent/v1/agent.proto",
        "spire/api/server/bundle/v1/bundle.proto",
        "spire/api/server/entry/v1/entry.proto",
        "spire/api/server/svid/v1/svid.proto",
        "sekisho/server/v1/server.proto",
        "sekisho/node/v1/node.proto",
    ];
    println!("cargo:rerun-if-changed=../../proto");
    let descriptors = protox::compile(files, [root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost_encode(&descriptors))?;
    let mut build = tonic_prost_build::configure().build_transport(false).include_file("wire.rs");
    // Records pass through an agent as they came: not copied, not read as text.
    build = build.bytes(".sekisho.server.v1.RecordRequest.records");
    build.compile_fds(descriptors)?;
    Ok(())
}

fn prost_encode(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
