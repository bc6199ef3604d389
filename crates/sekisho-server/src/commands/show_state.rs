use std::sync::Arc;

use sekisho_evidence::node::{NodeError, Proved, Session, attestor};
use sekisho_identity::{Node, Standing};
use sekisho_runtime::random_bytes;
use sekisho_store::{Expect, Write};
use sekisho_types::{EvidenceClass, SpiffeId};

use super::attest_error::AttestError;
use super::conversation::{AnsweringNode, Proof, converse, inputs, remembered};
use super::deny_attestation::deny;
use crate::caller::AgentCaller;
use crate::change::{Change, Facts};
use crate::command::Command;
use crate::denied::Denied;
use crate::run::Run;

/// Asks a node that attested for its state as it is now. A node whose state is refused is withdrawn.
pub(crate) struct ShowState<'a, N> {
    pub node: &'a mut N,
    /// Keying material of the connection, and the public key of the SVID that opened it.
    pub exporter: [u8; 32],
    pub public_key: &'a [u8],
}

impl<N: AnsweringNode> Command for ShowState<'_, N> {
    type Caller = AgentCaller;
    type Reply = ();
    type Error = AttestError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<(), AttestError> {
        let Self { node, exporter, public_key } = self;
        let id = run.caller.id.get();
        let attestor = attestor(&run.caller.node.attestation_type).ok_or(AttestError::NoState)?;
        let remembered = |id: &SpiffeId| remembered(run.facts(), id);
        let given = || {
            let session = Session::new(exporter, public_key, &random_bytes);
            inputs(run.facts(), attestor, session, &remembered)
        };
        let begun = attestor.again(id, &given()).ok_or(AttestError::NoState)?;
        match converse(node, begun, &given).await {
            Ok(Proof::Whole(proved)) => run.change(|| shown(run.facts(), &proved)).await,
            Ok(Proof::Spend(_) | Proof::Approval(_)) | Err(AttestError::Node(NodeError::Forgotten)) => {
                Err(AttestError::NoState)
            }
            Err(AttestError::Node(NodeError::Denied(denied))) => {
                Err(deny(run.domain, *denied, attestor.class().name).await?)
            }
            Err(error) => Err(error),
        }
    }
}

/// What is known of the node from now on. Only what it shows to others takes a revision.
fn shown(of: Facts<'_>, proved: &Proved) -> Result<Change<()>, AttestError> {
    let known = of.view.read(|state| state.nodes.get(proved.id()).cloned());
    let Some(known) = known else { return Err(Denied::Standing(Standing::Unknown).into()) };
    let fresh = Node::proved(proved);
    let node = Arc::new(Node {
        attested_at: fresh.attested_at,
        evidence_ends_at: fresh.evidence_ends_at,
        selectors: proved.evidence().selectors(EvidenceClass::Node).cloned().collect(),
        remembered: fresh.remembered,
        ..(*known).clone()
    });
    let write = match node.selectors == known.selectors {
        true => Write::NodeState(node),
        false => Write::PutNode(node),
    };
    let expected = Expect::Node { id: proved.id().clone(), is: Some(known) };
    Ok(Change::with_reply(()).expect(expected).write(write))
}
