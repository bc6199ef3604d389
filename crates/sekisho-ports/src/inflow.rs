//! What a long stream of messages brings. On a simulated machine it can be held up while its connection lives and calls
//! over it are answered.

use crate::Machine;

/// One stream that a program follows.
pub struct Inflow(Option<u64>);

impl Inflow {
    /// A stream that this program opens now.
    pub fn open() -> Self {
        Self(Machine::current().map(|machine| machine.opens_stream()))
    }

    /// The next message, once it passes. Nothing is lost when it is dropped before that.
    pub async fn next<T>(&self, message: impl Future<Output = T>) -> T {
        if let (Some(number), Some(machine)) = (self.0, Machine::current()) {
            machine.stream_passes(number).await;
        }
        message.await
    }
}
