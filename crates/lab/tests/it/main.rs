//! The lab's tests, one binary.

mod agent_attacks;
mod agent_rpc;
mod clients;
mod dev;
mod documents;
mod earlier_release;
mod faults;
mod floods;
mod grpc;
mod health;
mod http2;
mod identity;
mod identity_attacks;
mod inbound_attacks;
mod ledger_crash;
mod node_attacks;
mod openssl;
mod operating;
mod operators;
mod peers;
mod policy_live;
mod port_reuse;
mod process_attacks;
mod proofs;
mod restores;
mod sidecar;
mod sidecar_attacks;
mod sidecar_faults;
mod tokens;
mod traces;

mod vectors;
mod who_may;
mod world;
