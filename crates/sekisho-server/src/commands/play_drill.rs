use std::time::Duration;

use sekisho_api::DrillKind;
use sekisho_evidence::node::{NodeAttestor, NodeError, Session, Step, VerifierInputs, attestor};
use sekisho_runtime::{instant, random_bytes};
use sekisho_types::SpiffeId;

use super::attest_error::AttestError;
use super::conversation::{AnsweringNode, Proof, converse, inputs, remembered};
use crate::caller::AgentCaller;
use crate::command::Command;
use crate::run::Run;
use crate::state_checks::DrillOutcome;

/// Plays an attack on the server with the answers of a node that attested, by the rules that judge every node. Whatever
/// comes of it, nothing of it is kept and the node stays as it is.
pub(crate) struct PlayDrill<'a, N> {
    pub node: &'a mut N,
    /// Keying material of the connection, and the public key of the SVID that opened it.
    pub exporter: [u8; 32],
    pub public_key: &'a [u8],
    pub kind: DrillKind,
}

impl<N: AnsweringNode> Command for PlayDrill<'_, N> {
    type Caller = AgentCaller;
    type Reply = DrillOutcome;
    type Error = AttestError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<DrillOutcome, AttestError> {
        let Self { node, exporter, public_key, kind } = self;
        let attestor = attestor(&run.caller.node.attestation_type).ok_or(AttestError::NoState)?;
        let known = |id: &SpiffeId| remembered(run.facts(), id);
        let swapped = |id: &SpiffeId| attestor.as_of_another(&known(id)?);
        let session = || Session::new(exporter, public_key, &random_bytes);
        let id = run.caller.id.get();
        match kind {
            DrillKind::ReplayQuote => {
                let given = || inputs(run.facts(), attestor, session(), &known);
                let mut recording = Recording { node, first: None };
                // As it is asked on schedule: the quote is good.
                whole(converse(&mut recording, asked(attestor, id, &given())?, &given).await)?;
                let mut replaying = Replaying(Some(recording.first.ok_or(AttestError::NoState)?));
                let began = instant();
                let judged = converse(&mut replaying, asked(attestor, id, &given())?, &given).await;
                match judged {
                    // It is asked for more than the quote, so the quote passed.
                    Err(AttestError::Gone) => Ok(DrillOutcome::Accepted),
                    judged => verdict(judged, began.elapsed()),
                }
            }
            DrillKind::SwapTpm => {
                let given = || inputs(run.facts(), attestor, session(), &swapped);
                let began = instant();
                let judged = converse(node, asked(attestor, id, &given())?, &given).await;
                verdict(judged, began.elapsed())
            }
        }
    }
}

fn asked(
    attestor: &dyn NodeAttestor,
    id: &SpiffeId,
    given: &VerifierInputs<'_>,
) -> Result<Result<Step, NodeError>, AttestError> {
    attestor.again(id, given).ok_or(AttestError::NoState)
}

fn whole(proof: Result<Proof, AttestError>) -> Result<(), AttestError> {
    match proof? {
        Proof::Whole(_) => Ok(()),
        Proof::Spend(_) | Proof::Approval(_) => Err(AttestError::NoState),
    }
}

/// Only a refused state counts. Everything else is a fault that says nothing about the attack.
fn verdict(judged: Result<Proof, AttestError>, after: Duration) -> Result<DrillOutcome, AttestError> {
    match judged {
        Err(AttestError::Node(NodeError::Denied(denied))) => {
            Ok(DrillOutcome::Refused(denied.reason.to_string(), after))
        }
        Ok(_) => Ok(DrillOutcome::Accepted),
        Err(error) => Err(error),
    }
}

/// A node whose first answer is kept: its quote.
struct Recording<'a, N> {
    node: &'a mut N,
    first: Option<Vec<u8>>,
}

impl<N: AnsweringNode> AnsweringNode for Recording<'_, N> {
    async fn answer(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        let answer = self.node.answer(challenge).await?;
        self.first.get_or_insert_with(|| answer.clone());
        Ok(answer)
    }
}

/// Answers the first challenge with a quote that was recorded before.
struct Replaying(Option<Vec<u8>>);

impl AnsweringNode for Replaying {
    async fn answer(&mut self, _challenge: Vec<u8>) -> Result<Vec<u8>, AttestError> {
        self.0.take().ok_or(AttestError::Gone)
    }
}
