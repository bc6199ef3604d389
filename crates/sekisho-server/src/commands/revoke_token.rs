use sekisho_events::{TokenId, TokenRevoked};
use sekisho_store::{Conflict, Expect, Write};
use sekisho_types::UnixTime;

use crate::caller::Operator;
use crate::change::Change;
use crate::command::Command;
use crate::journal::{JournalError, personal};
use crate::registration::RegistrationError;
use crate::run::Run;
use crate::tokens::id_of;

/// Makes a token useless.
pub(crate) struct RevokeToken {
    /// `tok_…`
    pub id: String,
}

impl Command for RevokeToken {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    async fn run(self, run: &Run<'_, Operator>) -> Result<(), RegistrationError> {
        let id = &self.id;
        let unknown = || RegistrationError::NoToken(id.clone());
        let known = run.domain.store.tokens(&run.domain.identity.name).await?;
        let found = known.into_iter().find(|token| id_of(&token.hash) == *id);
        let hash = found.ok_or_else(unknown)?.hash;
        let token = TokenId::parse(id).ok_or_else(unknown)?;
        let removal = || {
            let exists = Expect::Token { hash: hash.clone(), at: UnixTime::from_nanos(i64::MIN) };
            let revoked = TokenRevoked { by: personal(run.caller.name().to_owned()), token };
            Ok(Change::with_reply(()).expect(exists).write(Write::RemoveToken(hash.clone())).event(revoked))
        };
        match run.change(removal).await {
            // It was used meanwhile.
            Err(RegistrationError::Journal(JournalError::Conflict(Conflict::Token))) => Err(unknown()),
            done => done,
        }
    }
}
