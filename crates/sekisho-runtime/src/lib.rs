//! What every daemon needs and no rule may touch: configuration, logs, identifiers and the signal to stop; and the
//! ports that programs use, of `sekisho-ports`.

mod child;
mod config;
mod danger;
mod durations;
mod hardening;
mod limits;
mod loader;
mod logs;
mod memory;
pub mod metrics;
mod random;
mod repeated;
mod sockets;
mod stop;
mod tasks;
mod traces;
mod trust_domain;

pub use child::{NOT_RUN, OnParentExit, become_child, runs_its_program, supervised_command};
pub use config::{ConfigError, Configuration, Settings, configuration, load_configuration};
pub use danger::{danger, dangers};
pub use durations::{duration_text, exact_duration, parse_time, seconds_in, whole_days};
pub use hardening::{HardeningError, check_preload_and_tracer, close_to_others};
pub use limits::raise_open_files;
pub use loader::set_loader_variables_aside;
pub use logs::init_logs;
pub use memory::{give_back_idle_memory, keep_short_heaps};
pub use random::{random_hex, random_u32, time_ordered_id, to_hex};
pub use sekisho_ports::{Inflow, blocking, instant, is_simulated, now, random_bytes, random_id};
pub use sockets::{agent_socket, agent_socket_paths, dev_folder, server_socket, server_socket_paths};
pub use stop::{Stop, stop_on_signal};
pub use tasks::{Ending, TaskFailure, TaskStatus, Tasks};
pub use traces::{Span, SpanSide, TraceParent, Traces, TracesError};
pub use trust_domain::parse_trust_domain;
