//! Checkpoints (c2sp.org/tlog-checkpoint): a log's size and root under its origin.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::Hash;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("a checkpoint has an origin, a size and a root, one on each line")]
    Malformed,
    #[error("the size is not a decimal number without leading zeros")]
    Size,
    #[error("the root is not 32 bytes in base64")]
    Root,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Reads a note's text. Extension lines are allowed and not kept.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed);
        }
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        if number.to_string() != size {
            return Err(CheckpointError::Size);
        }
        let root = BASE64.decode(root).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        Ok(Self { origin: origin.to_owned(), size: number, root: root.ok_or(CheckpointError::Root)? })
    }
}

/// The text that is signed, ending in a newline.
impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64.encode(self.root))
    }
}
