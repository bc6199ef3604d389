//! Network rules of workloads, enforced by cgroup programs of the kernel.
//!
//! `rules.rs` says what a policy means, `rows.rs` turns it into tables, `enforcer.rs` puts tables and programs into the
//! kernel. The programs are in `bpf/`. Nothing here knows where rules come from, or who a workload is.

mod abi;
pub mod bypass;
mod cgroup;
mod enforcer;
mod maps;
mod object;
mod probe;
mod programs;
mod receipt;
pub mod records;
mod ring;
mod rows;
mod rules;
mod sys;

pub use abi::{Event, Hook, Reason};
pub use cgroup::{Cgroup, clear, enter, kill_all, own_cgroup};
pub use enforcer::{Counters, Enforcer, Fallback, KernelError, Mode, WorkloadId};
pub use probe::{Capability, capabilities, cgroup2};
pub use programs::LoadError;
pub use receipt::{Enforcement, InForce, Point, Receipt, in_force};
pub use rows::DoesNotFit;
pub use rules::{Defaults, Direction, Network, Peers, Policy, Ports, Protocol, Rule, RuleError, Verdict};
