//! The conversation in which a node proves something, with whatever attestor.

use std::time::Duration;

use sekisho_evidence::node::{NodeAttestor, NodeError, OneTime, Proved, Session, Step, TPM, Unvouched, VerifierInputs};
use sekisho_runtime::now;
use sekisho_types::SpiffeId;

use super::attest_error::AttestError;
use crate::change::Facts;

/// Challenges that one attestation may take. Of a node with a TPM the server asks for logs, 1 MiB at a time.
const MAX_CHALLENGES: usize = 128;

/// How long all of them may take: a node that has shown its state keeps no one waiting for what explains it.
const LONGEST: Duration = Duration::from_secs(180);

/// A node that answers challenges.
pub(crate) trait AnsweringNode: Send {
    fn answer(&mut self, challenge: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, AttestError>> + Send;
}

/// What a conversation ends with.
pub(super) enum Proof {
    Whole(Proved),
    /// Its secret is still to be spent.
    Spend(OneTime),
    /// An operator has to have allowed its device.
    Approval(Unvouched),
}

pub(super) async fn converse<'a>(
    node: &mut impl AnsweringNode,
    begun: Result<Step, NodeError>,
    given: &(impl Fn() -> VerifierInputs<'a> + Sync),
) -> Result<Proof, AttestError> {
    let whole = tokio::time::timeout(LONGEST, go_through(node, begun, given)).await;
    whole.unwrap_or(Err(AttestError::Slow(LONGEST.as_secs())))
}

async fn go_through<'a>(
    node: &mut impl AnsweringNode,
    begun: Result<Step, NodeError>,
    given: &(impl Fn() -> VerifierInputs<'a> + Sync),
) -> Result<Proof, AttestError> {
    let mut step = begun?;
    for left in (0..=MAX_CHALLENGES).rev() {
        step = match step {
            Step::Proved(proved) => return Ok(Proof::Whole(proved)),
            Step::Spend(once) => return Ok(Proof::Spend(once)),
            Step::Approval(unvouched) => return Ok(Proof::Approval(unvouched)),
            Step::Challenge(..) if left == 0 => break,
            Step::Challenge(challenge, conversation) => {
                let answer = node.answer(challenge).await?;
                conversation.go_on(&answer, &given())?
            }
        };
    }
    Err(AttestError::TooLong)
}

pub(super) fn inputs<'a>(
    of: Facts<'a>,
    attestor: &dyn NodeAttestor,
    session: Session<'a>,
    remembered: &'a (dyn Fn(&SpiffeId) -> Option<String> + Sync),
) -> VerifierInputs<'a> {
    let anchors = of.settings.anchors.of(attestor.class().name);
    VerifierInputs {
        session,
        trust_domain: of.trust_domain,
        anchors,
        manufacturers: of.settings.anchors.of(TPM.name),
        remembered,
        approvals: of.settings.tpm_approval,
        boot_policy: of.settings.boot_policy.as_ref(),
        now: now(),
    }
}

/// What the node's attestor kept when it proved itself last.
pub(super) fn remembered(of: Facts<'_>, id: &SpiffeId) -> Option<String> {
    let known = of.view.read(|state| state.nodes.get(id).cloned());
    known?.remembered.as_deref().map(str::to_owned)
}
