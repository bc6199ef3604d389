use sekisho_events::{AgentEvicted, DeviceApprovalWithdrawn};
use sekisho_runtime::now;
use sekisho_store::{Expect, Write};
use sekisho_types::Digest;

use crate::caller::Operator;
use crate::change::Change;
use crate::command::{Command, WithdrawnIdentities};
use crate::journal::personal;
use crate::registration::RegistrationError;
use crate::revoke;
use crate::run::Run;

/// Takes the approval of a TPM back. The node that attested by it is evicted.
pub(crate) struct RevokeTpm {
    pub ek: Digest,
}

impl Command for RevokeTpm {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<(), RegistrationError> {
        let Self { ek } = self;
        let domain = run.domain;
        let known = domain.store.device(&domain.identity.name, &ek).await?;
        let device = known.filter(|known| known.approved_by.is_some()).ok_or(RegistrationError::NoTpm(ek))?;
        let withdrawal = || {
            let by = || personal(run.caller.name().to_owned());
            let change = Change::with_reply(()).write(Write::ApproveDevice { key: ek, by: None, at: now() });
            let change = change.event(DeviceApprovalWithdrawn { by: by(), device: ek });
            let node = device.node.as_ref().and_then(|id| run.facts().view.read(|state| state.nodes.get(id).cloned()));
            // One that is banned stays known.
            let Some(node) = node.filter(|node| !node.banned) else { return Ok::<_, RegistrationError>(change) };
            let (id, evicted) = (node.id.clone(), AgentEvicted { agent: personal(node.id.clone()), by: by() });
            let change = change.write(Write::RemoveNode { id: id.clone(), at: now() });
            let change = change.expect(Expect::Node { id: id.clone(), is: Some(node) }).event(evicted);
            Ok(change.and(|item| revoke::agent(item, &id, "was of a TPM that is no longer allowed", now())))
        };
        run.change(withdrawal).await?;
        if let Some(id) = &device.node {
            let taken = WithdrawnIdentities::OfAgent(id);
            run.domain.streams.pending_answers.settle(|final_check| taken.concerns(final_check)).await;
        }
        Ok(())
    }
}
