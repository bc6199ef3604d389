//! What connections of peers are served with, whatever their protocol.

use std::sync::Arc;
use std::time::Duration;

use sekisho_runtime::{Stop, Traces};
use sekisho_sdk::{Held, IdentitySource, RevocationKeeper};
use tokio::sync::watch;

use crate::config::Protocol;
use crate::decisions::Decider;
use crate::renewal::Renewals;
use crate::upstream::Upstream;

/// What a refusal by revocation is recorded as.
pub(crate) const REVOKED: &str = "revoked SVID";

pub(crate) struct Inbound {
    pub identity: IdentitySource,
    pub decider: Arc<Decider>,
    pub revocations: Arc<RevocationKeeper>,
    pub upstream: Arc<Upstream>,
    pub protocol: Protocol,
    pub traces: Traces,
    pub stop: Stop,
    /// How long a request may be open without anything passing on it.
    pub body_idle: Duration,
    pub renewals: Renewals,
}

/// Returns when the identity is taken away.
pub(crate) async fn withdrawn(mut held: watch::Receiver<Option<Held>>) {
    // A source that is gone gives no identity either.
    let _gone = held.wait_for(Option::is_none).await;
}
