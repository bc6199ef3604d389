//! Decision tables: many rules of simple conditions over places of the input, decided by what an input has there.
//!
//! A place is looked up once. One hash of its value gives the conditions that compare it with constants. Beginnings,
//! endings, blocks of addresses and bounds of a number are found in sorted lists. All else is asked once for each
//! distinct condition. The conditions that are met then say which rule holds and, at the same time, which rule is
//! nearest. After its [`Scratch`] has grown to the table's size, a decision allocates nothing and counts no references.
//!
//! The table is a shortcut, and never guesses: where a condition may be an error, there is no answer.

mod build;
mod condition;
mod equal;
mod interner;
mod ordered;
mod pattern;
mod prefixes;
mod rows;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use build::Rule;
pub use condition::{Comparison, Condition, Network, Number, Operand, Operator, Slot, Source, Test, Truth};
pub use interner::Interner;
pub use pattern::Pattern;
pub use table::{Found, Scratch, Table};
pub use view::{Key, View};
