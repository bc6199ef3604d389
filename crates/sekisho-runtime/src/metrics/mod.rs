//! Metrics: one registry of what there is, as data, and the values of a running program. The reference page, alert
//! rules and dashboards are generated from the registry (`cargo xtask gen`).

pub mod registry;
mod values;

pub use values::Metrics;
