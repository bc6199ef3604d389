//! Identities that were signed and do not leave: a refusal that withdraws their issuances.

use sekisho_events::IssuanceId;

use crate::final_check::{FinalCheck, WithholdReason};
use crate::journal::JournalError;
use crate::refusal::Fault;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Withheld {
    #[error("{cause}")]
    Judged { cause: WithholdReason, issued: Vec<IssuanceId> },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Withheld {
    pub(crate) fn of(final_check: &FinalCheck, cause: WithholdReason) -> Self {
        Self::Judged { cause, issued: final_check.log_ids() }
    }
}

impl Fault for Withheld {
    fn is_caller_fault(&self) -> bool {
        !matches!(self, Self::Journal(_))
    }

    fn log_message(&self) -> String {
        self.to_string()
    }

    fn withdraws(&self) -> &[IssuanceId] {
        match self {
            Self::Judged { issued, .. } => issued,
            Self::Journal(_) => &[],
        }
    }
}
