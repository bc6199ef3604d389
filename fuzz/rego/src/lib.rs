//! Policies, data and inputs by seed, and their evaluation compared with other ways of evaluating them.

mod alike;
mod bodies;
mod bytes;
mod calls;
mod case;
mod compare;
mod constants;
mod documents;
mod known;
mod opa;
mod ours;
mod partial;
mod random;
mod rules;
mod terms;
mod texts;
mod writer;

pub use alike::check;
pub use bytes::bytes;
pub use case::{Case, LIBRARY_V0, LIBRARY_V1};
pub use compare::{Compared, Opa};
pub use opa::{Refusal, Server};
pub use ours::{Outcome, evaluate, plain};
pub use random::Random;
