//! What a command is: something that a caller wants done, which `executor.rs` runs.

use sekisho_types::SpiffeId;

use crate::caller::{AgentCaller, Operator};
use crate::domain::Shared;
use crate::refusal::Fault;

/// Each is a file of `commands/`. It records nothing of what it refuses: that is the executor's.
pub(crate) trait Command: Sized + Send {
    /// Whom the role table admits to it.
    type Caller: Caller;
    type Reply: Send;
    type Error: Fault + Send;

    fn run(
        self,
        domain: &Shared,
        caller: &Self::Caller,
    ) -> impl Future<Output = Result<Self::Reply, Self::Error>> + Send;
}

/// Who can call: an operator, an agent, anyone, or the server itself.
pub(crate) trait Caller: Send + Sync {
    /// The agent under whose name a refusal is recorded; that of others is recorded under the name of their connection.
    fn agent(&self) -> Option<&SpiffeId> {
        None
    }
}

/// Anyone.
impl Caller for () {}

impl Caller for Operator {}

impl Caller for AgentCaller {
    fn agent(&self) -> Option<&SpiffeId> {
        Some(self.id.get())
    }
}

/// This server, of its own accord.
pub(crate) struct Own;

impl Caller for Own {}
