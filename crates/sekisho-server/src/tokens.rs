//! Join tokens: made once, shown once, kept as a hash. Everywhere else a token goes by the beginning of its hash.

/// Digits of the hash in an id: enough that none is met twice.
const ID_DIGITS: usize = 16;

/// The name by which operators speak of a token.
pub(crate) fn id_of(hash: &str) -> String {
    format!("tok_{}", hash.chars().take(ID_DIGITS).collect::<String>())
}
