//! What connections of peers are served with, whatever their protocol.

use std::sync::Arc;
use std::time::Duration;

use sekisho_runtime::{Stop, Traces};
use sekisho_sdk::{CurrentIdentity, IdentitySource, RevocationKeeper};
use tokio::sync::watch;

use crate::config::Protocol;
use crate::decisions::Decider;
use crate::renewal::{self, Proven, Renewals};
use crate::upstream::Upstream;

/// What a refusal by revocation is recorded as.
pub(crate) const REVOKED: &str = "revoked SVID";
/// What is not begun because the identity that asks for it is over.
const EXPIRED: &str = "expired SVID";

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
pub(crate) async fn withdrawn(mut held: watch::Receiver<Option<CurrentIdentity>>) {
    // A source that is gone gives no identity either.
    let _gone = held.wait_for(Option::is_none).await;
}

/// Why a peer may open no new request with what it has proven: its SVID was revoked or has expired.
pub(crate) fn no_longer_valid(revocations: &RevocationKeeper, proven: &Proven) -> Option<(&'static str, String)> {
    let revoked = revocations.find(&proven.leaf).map(|why| (REVOKED, why));
    let expired = || (EXPIRED, "the SVID on this connection has expired; open a new one".to_owned());
    revoked.or_else(|| renewal::left(proven.ends).is_none().then(expired))
}

#[cfg(test)]
mod tests {
    use sekisho_identity::{LeafFacts, Revocation, Revocations, Revoked};
    use sekisho_runtime::now;
    use sekisho_types::{Claims, Revision, SpiffeId};

    use super::*;

    /// What a peer proved, whose SVID expires so many seconds from now.
    fn proven(seconds: i64) -> Proven {
        let leaf = LeafFacts {
            spiffe_id: SpiffeId::parse("spiffe://example.org/till").unwrap(),
            not_before: now().plus_seconds(-900),
            not_after: now().plus_seconds(seconds),
            serial: "01".into(),
            claims: Claims::default(),
            public_key: vec![],
            issuance: None,
        };
        let ends = leaf.not_after;
        Proven::new(Arc::new(leaf), ends)
    }

    fn keeper(revoked: bool) -> RevocationKeeper {
        let mut known = Revocations::default();
        if revoked {
            let what = Revoked::SpiffeId(proven(60).leaf.spiffe_id.clone());
            let until = now().plus_seconds(900);
            known.add(Revocation { what, revision: Revision(1), at: now(), until, reason: "key leaked".into() });
        }
        let keeper = RevocationKeeper::new(known, now, |_| ());
        keeper.take(&sekisho_proto::node::WatchRevocationsResponse::default());
        keeper
    }

    #[test]
    fn nothing_new_is_taken_by_an_expired_svid() {
        assert_eq!(no_longer_valid(&keeper(false), &proven(60)), None);
        let (rule, why) = no_longer_valid(&keeper(false), &proven(-1)).unwrap();
        assert!(rule == EXPIRED && why.contains("has expired"), "{rule}: {why}");
        assert_eq!(no_longer_valid(&keeper(true), &proven(60)).unwrap().0, REVOKED);
    }
}
