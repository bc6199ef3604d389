use sekisho_events::{TokenId, TokenRevoked};
use sekisho_store::{Conflict, Expect, Item, Write};
use sekisho_types::UnixTime;

use super::by_operator;
use crate::caller::Operator;
use crate::command::Command;
use crate::domain::Shared;
use crate::journal::{JournalError, Stamp, personal};
use crate::registration::RegistrationError;
use crate::tokens::{id_of, list};

/// Makes a token useless.
pub(crate) struct RevokeToken {
    /// `tok_…`
    pub id: String,
}

impl Command for RevokeToken {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    async fn run(self, domain: &Shared, by: &Operator) -> Result<(), RegistrationError> {
        let id = &self.id;
        let unknown = || RegistrationError::NoToken(id.clone());
        let found = list(domain).await?.into_iter().find(|token| id_of(&token.hash) == *id);
        let hash = found.ok_or_else(unknown)?.hash;
        let token = TokenId::parse(id).ok_or_else(unknown)?;
        let revoked = TokenRevoked { by: personal(by.name().to_owned()), token };
        let removal = || {
            let exists = Expect::Token { hash: hash.clone(), at: UnixTime::from_nanos(i64::MIN) };
            let item = Item::default().expect(exists).write(Write::RemoveToken(hash.clone()));
            Ok((item.record(Stamp::now(domain).leaf(revoked.clone())), ()))
        };
        match by_operator::change(domain, by, removal).await {
            // It was used meanwhile.
            Err(RegistrationError::Journal(JournalError::Conflict(Conflict::Token))) => Err(unknown()),
            done => done.map(drop),
        }
    }
}
