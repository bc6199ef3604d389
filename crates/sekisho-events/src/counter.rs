//! Counters of recorded events. The declaration of each event names the counters that it increments (`kinds.rs`).

use crate::words::IssuanceIds;

macro_rules! counters {
    ($($name:ident,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $($name,)+
        }

        impl Counter {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

counters! {
    X509SvidsIssued,
    JwtSvidsIssued,
    Attestations,
    AttestationsDenied,
    DrillsPlayed,
    Refusals,
    Withdrawals,
    RecordsTaken,
    RecordsLost,
    EntriesCreated,
    EntriesUpdated,
    EntriesDeleted,
    EntriesForgotten,
    AgentsBanned,
    AgentsEvicted,
    AgentsForgotten,
    TokensCreated,
    TokensUsed,
    TokensRevoked,
    DeviceChanges,
    PolicyRevisions,
    SettingsChanges,
    Revocations,
    KeyEvents,
}

/// A member of an event that is a number of things.
pub(crate) trait Amount {
    fn amount(&self) -> u64;
}

impl Amount for u64 {
    fn amount(&self) -> u64 {
        *self
    }
}

impl Amount for Option<IssuanceIds> {
    fn amount(&self) -> u64 {
        self.as_ref().map_or(0, |ids| ids.0.len() as u64)
    }
}

/// The member that counts, or one.
pub(crate) fn number(by: &[&dyn Amount]) -> u64 {
    by.first().map_or(1, |member| member.amount())
}
