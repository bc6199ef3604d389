//! Values: what data, input and results are made of, in OPA's total order.

mod array;
mod decimal;
pub(crate) mod hash;
mod kinds;
mod number;
mod object;
mod read;
mod set;
mod shared;
#[cfg(test)]
mod tests;
mod write;

pub use array::List;
pub use kinds::{Array, Object, ObjectBuilder, Set, Value};
pub use number::Number;
pub use object::{Members, MembersBuilder};
pub use read::{JsonError, MAX_JSON_DEPTH};
pub use set::Distinct;
pub use shared::{Item, Measure};
