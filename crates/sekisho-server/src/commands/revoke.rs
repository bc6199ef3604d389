use sekisho_events::{AgentEvicted, AgentRevoked, EntryRevoked, Event, IdRevoked, SerialRevoked};
use sekisho_identity::{Revocation, Revoked};
use sekisho_runtime::now;
use sekisho_store::{Expect, Write};
use sekisho_types::{Revision, UnixTime};

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::{Changes, WithdrawnIdentities};
use crate::journal::personal;
use crate::queries::Plan;
use crate::registration::RegistrationError;

const MAX_REASON: usize = 200;

/// Revokes: the leaf and the revocation are one transaction. The revocation is in force when this has run.
pub(crate) struct Revoke {
    pub plan: Plan,
    pub reason: String,
}

impl Changes for Revoke {
    type Caller = Operator;
    type Reply = Revocation;
    type Error = RegistrationError;

    fn prepare(&self, of: Facts<'_>, by: &Operator) -> Result<Change<Revocation>, RegistrationError> {
        let (reason, at) = (reason_of(&self.reason)?, now());
        let Plan { what, until, evicts, .. } = &self.plan;
        let write = Write::Revoke { what: what.clone(), reason: reason.clone(), at, until: *until };
        let event = event(what, *until, &reason, by.name());
        let (what, until) = (what.clone(), *until);
        let reply = move |revision: Option<Revision>| Revocation {
            what,
            revision: revision.unwrap_or_default(),
            at,
            until,
            reason,
        };
        let mut change = Change::with_reply_of(reply);
        // One that is banned stays known.
        let known = evicts.as_ref().and_then(|id| of.view.read(|state| state.nodes.get(id).cloned()));
        if let Some(node) = known.filter(|node| !node.banned) {
            let evicted = AgentEvicted { agent: personal(node.id.clone()), by: personal(by.name().to_owned()) };
            change = change.write(Write::RemoveNode { id: node.id.clone(), at: now() }).event(evicted);
            change = change.expect(Expect::Node { id: node.id.clone(), is: Some(node) });
        }
        Ok(change.write(write).event(event))
    }

    fn withdrawn_identities(&self) -> Option<WithdrawnIdentities<'_>> {
        self.plan.evicts.as_ref().map(WithdrawnIdentities::OfAgent)
    }
}

fn event(what: &Revoked, until: UnixTime, reason: &str, by: &str) -> Event {
    let (by, reason) = (personal(by.to_owned()), personal(reason.to_owned()));
    match what {
        Revoked::Entry { id, .. } => EntryRevoked { by, entry: id.clone(), reason, until }.into(),
        Revoked::Agent(id) => AgentRevoked { agent: personal(id.clone()), by, reason, until }.into(),
        Revoked::SpiffeId(id) => IdRevoked { by, reason, spiffe_id: personal(id.clone()), until }.into(),
        Revoked::Serial(serial) => SerialRevoked { by, reason, serial: serial.clone(), until }.into(),
    }
}

/// In the past tense, as peers' refusals quote it.
fn reason_of(text: &str) -> Result<String, RegistrationError> {
    let text = text.trim();
    if text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
        return Err(RegistrationError::Form(format!("a reason is one line of at most {MAX_REASON} characters")));
    }
    Ok(if text.is_empty() { "was revoked".to_owned() } else { format!("was revoked: {text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(reason_of("").unwrap(), "was revoked");
        assert_eq!(reason_of(" key leaked ").unwrap(), "was revoked: key leaked");
        assert!(reason_of("two\nlines").is_err() && reason_of(&"x".repeat(201)).is_err());
    }
}
