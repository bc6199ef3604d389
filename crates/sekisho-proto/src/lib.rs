//! Wire formats. This is the only room that generates protobuf code; conversions to and from words that
//! every other room uses stand here too.

/// Generated from `proto/`.
#[expect(
    clippy::all,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));

    /// The Workload API, whose protobuf has no package.
    pub mod workload {
        include!(concat!(env!("OUT_DIR"), "/_.rs"));
    }
}

mod convert;
mod revocations;

pub use convert::{
    ConvertError, bundle_from_wire, bundle_to_wire, entry_from_wire, entry_to_wire, id_from_wire, id_to_wire,
    reason_status, selectors_from_wire, selectors_to_wire, status_reason,
};
pub use revocations::{
    REVOCATIONS_PER_MESSAGE, revocation_from_wire, revocation_to_wire, revocations_from_bytes, revocations_to_bytes,
};
pub use wire::sekisho::node::v1 as node;
pub use wire::sekisho::server::v1 as server;
pub use wire::spire::api::server as spire;
pub use wire::spire::api::types;
pub use wire::workload;

/// The file descriptor set, for gRPC reflection.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
