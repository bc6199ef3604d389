//! Join tokens: made once, shown once, kept as a hash. Everywhere else a token goes by the beginning of its hash.

use sekisho_store::TokenRecord;

use crate::domain::Domain;
use crate::registration::RegistrationError;

/// Digits of the hash in an id: enough that none is met twice.
const ID_DIGITS: usize = 16;

/// The name by which operators speak of a token.
pub(crate) fn id_of(hash: &str) -> String {
    format!("tok_{}", hash.chars().take(ID_DIGITS).collect::<String>())
}

/// The tokens that were not used.
pub(crate) async fn list(domain: &Domain) -> Result<Vec<TokenRecord>, RegistrationError> {
    Ok(domain.store.tokens(&domain.identity.name).await?)
}
