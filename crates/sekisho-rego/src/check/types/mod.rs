//! Types: calls with arguments that cannot fit, comparisons that cannot hold, references to what cannot exist.
//!
//! A type says what a value may be; what is not known is [`Type::Any`]. Only what can never hold is an error.

mod annotated;
mod bodies;
mod lattice;
mod references;
mod rules;
mod schema;
mod schemas;
mod show;
mod state;

pub(crate) use rules::check;
pub use schemas::Schemas;
#[cfg(test)]
mod tests;
