use std::fmt;

use sekisho_types::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::FormError;

/// An attack that is played on a running system, with the answers of a node that has a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DrillKind {
    /// A quote of before answers a fresh challenge.
    ReplayQuote,
    /// Another TPM than the one that is known answers.
    SwapTpm,
}

impl fmt::Display for DrillKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReplayQuote => "replay-quote",
            Self::SwapTpm => "swap-tpm",
        })
    }
}

/// Which attack, and with whose answers.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DrillRef {
    /// The agent's SPIFFE ID.
    pub id: String,
    pub drill: DrillKind,
}

impl DrillRef {
    pub fn spiffe_id(&self) -> Result<SpiffeId, FormError> {
        SpiffeId::parse(&self.id).map_err(|error| FormError::SpiffeId("id".to_owned(), error))
    }
}

/// What came of a drill. The node stays attested either way.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DrillForm {
    /// The agent's SPIFFE ID.
    pub id: String,
    /// If not, the attack passed.
    pub refused: bool,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From the begin of the attack to the verdict, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_after_us: Option<u64>,
    /// The alert that it raised.
    pub alert: String,
}
