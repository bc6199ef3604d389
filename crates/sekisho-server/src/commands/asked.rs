//! What is the same for each identity that an agent asks for.

use std::sync::Arc;

use sekisho_evidence::Evidence;
use sekisho_identity::{Csr, Entry, Node, Request, WorkloadProof};
use sekisho_runtime::now;
use sekisho_types::{EntryId, Verified};

use crate::caller::AgentCaller;
use crate::denied::Denied;
use crate::issue::{Asked, IssueError};
use crate::run::Run;
use crate::state_checks::longest_silence_seconds;
use crate::view::View;

/// The entry that an agent names. Whether it may serve it is the gate's question.
pub(super) fn entry(view: &View, id: EntryId) -> Result<Arc<Entry>, IssueError> {
    view.read(|state| state.entries.get(&id).cloned()).ok_or(IssueError::NoEntry(id))
}

/// A CSR whose signature is valid. It waits in the queue: verifying takes longer than signing.
pub(super) async fn csr(run: &Run<'_, AgentCaller>, der: Vec<u8>) -> Result<Verified<Csr>, IssueError> {
    let verified = run.domain.limits.queue.run(run.caller.id.get(), move || Csr::verify(&der)).await;
    verified.map_err(|error| IssueError::Csr(error.to_string()))
}

/// What the agent shows of a process, on top of what it showed of itself.
pub(super) fn shown(
    agent: &AgentCaller,
    attest_every_seconds: u32,
    process: Option<Evidence>,
) -> Result<(WorkloadProof, Arc<Evidence>), IssueError> {
    let node = agent.evidence()?;
    check_current(&agent.node, attest_every_seconds)?;
    Ok(match process {
        Some(process) => (WorkloadProof::Process, Arc::new(Evidence::clone(node).with(process)?)),
        None => (WorkloadProof::NodeOnly, node.clone()),
    })
}

/// A node that can show its state gets nothing for its workloads while it shows none.
fn check_current(node: &Node, every_seconds: u32) -> Result<(), Denied> {
    let silent = now().seconds_since(node.attested_at);
    let is_late = node.remembered.is_some() && silent > longest_silence_seconds(every_seconds);
    if is_late { Err(Denied::Silent(silent)) } else { Ok(()) }
}

/// A node's own identity.
pub(super) struct AskedNode {
    pub csr: Verified<Csr>,
    pub evidence: Arc<Evidence>,
}

impl Asked for AskedNode {
    fn request(&self) -> Request<'_> {
        Request::NodeSvid { csr: &self.csr, evidence: &self.evidence }
    }
}
