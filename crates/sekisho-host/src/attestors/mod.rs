//! The workload attestors: each in a file of its own, with a row here and its class in `sekisho-evidence`
//! (`process.rs`).

mod attestor;
mod ima;
mod systemd;
mod unit_path;
mod unix;

pub(crate) use attestor::{Found, WorkloadAttestor};

/// All of them, in the order in which evidence names them.
pub(crate) static ATTESTORS: [&dyn WorkloadAttestor; 3] = [&unix::Unix, &systemd::Systemd, &ima::Ima];
