use sekisho_events::{TokenId, TokenRevoked};
use sekisho_store::{Conflict, Expect, Item, Write};
use sekisho_types::UnixTime;

use crate::caller::Operator;
use crate::command::Command;
use crate::domain::Shared;
use crate::journal::{Stamp, personal};
use crate::registration::RegistrationError;
use crate::submit;
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
        let leaf = Stamp::now(domain).leaf(TokenRevoked { by: personal(by.name().to_owned()), token });
        let exists = Expect::Token { hash: hash.clone(), at: UnixTime::from_nanos(i64::MIN) };
        let removal = Item::default().expect(exists).write(Write::RemoveToken(hash)).record(leaf);
        match submit::all(domain, vec![removal]).await?.only() {
            Ok(_) => Ok(()),
            // It was used meanwhile.
            Err(Conflict::Token) => Err(unknown()),
            Err(conflict) => Err(conflict.into()),
        }
    }
}
