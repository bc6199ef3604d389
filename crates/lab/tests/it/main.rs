//! The lab's tests, one binary.

mod agent_attacks;
mod dev;
mod grpc;
mod identity;
mod ledger_crash;
mod operators;
mod peers;
mod policy_live;
mod proofs;
mod sidecar;
mod sidecar_attacks;
mod vectors;
mod world;
