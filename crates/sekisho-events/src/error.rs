/// Why a leaf is not read, or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("the leaf is not JSON in canonical form")]
    NotCanonical,
    #[error("the leaf is longer than 65535 bytes")]
    TooLong,
    #[error(
        "the record of this change would be {0} bytes long with all that it names, and the log takes 4 MiB of one \
         change; make what is changed shorter, or change it in several steps"
    )]
    SideTooLong(usize),
    #[error("the leaf has no valid `{0}`")]
    Field(&'static str),
    #[error("the leaf has a member `{0}`, which this version does not know; a newer one may")]
    Unknown(String),
    #[error("the opening of `{0}` does not fit the commitment in the leaf")]
    Opening(String),
    #[error("the value of `{0}` is not of its form")]
    Value(&'static str),
    #[error("what is kept beside the leaf does not open commitments")]
    Side,
}

impl LeafError {
    /// Whether what was to be recorded is more than the log takes.
    pub const fn is_too_long(&self) -> bool {
        matches!(self, Self::TooLong | Self::SideTooLong(_))
    }
}
