use sekisho_types::{IdError, SelectorError, SpiffeIdError};

/// A form that says nothing that can be done.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("`{0}`: {1}")]
    SpiffeId(String, #[source] SpiffeIdError),
    #[error("`id`: {0}")]
    EntryId(#[source] IdError),
    #[error("{0}")]
    RevokedEntry(#[source] IdError),
    #[error("selector `{0}`: {1}")]
    Selector(String, #[source] SelectorError),
    #[error("`federates_with`: {0}")]
    FederatesWith(#[source] SpiffeIdError),
    #[error("`{0}` is a SHA-256 in hexadecimal: {1}")]
    Digest(String, String),
    #[error("`expires_at_ms` is negative")]
    NegativeEnd,
    #[error(
        "the selectors name an executable but no user, group or container: every user who can run the file would get \
         the identity; add one, for example `unix:uid:1000`"
    )]
    AnyUser,
    #[error(
        "`{0}`: a serial number is 1 to 20 bytes in hexadecimal, an `iss_…` of `sekisho svid list`, or a token's `jti`"
    )]
    Serial(String),
    #[error("give exactly one of `entry`, `agent`, `spiffe_id` and `serial`")]
    OneTarget,
}
