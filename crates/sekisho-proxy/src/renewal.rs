//! A long TCP connection, or the connection of a long request, goes on only while both ends prove the same IDs on a
//! fresh handshake. The dialling sidecar opens a second connection after each rotation and names the first one on it by
//! keying material that only its two ends know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_identity::LeafFacts;
use sekisho_net::{Dialer, NetError};
use sekisho_policy::SubjectInput;
use sekisho_runtime::{now, random_bytes};
use sekisho_sdk::{CurrentIdentity, RevocationKeeper};
use sekisho_types::{SpiffeId, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

/// What the second connection is for (ALPN, RFC 7301). On it the client sends the first one's 32 bytes, and the server
/// answers with one: `KNOWN` or anything else.
pub(crate) const PROTOCOL: &[u8] = b"sekisho-renew/1";
/// What a renewal asks for, so that a peer that knows none answers in the connection's own protocol and not by an
/// alert.
pub(crate) const OF_TCP: &[&[u8]] = &[PROTOCOL];
pub(crate) const OF_HTTP2: &[&[u8]] = &[PROTOCOL, b"h2"];
pub(crate) const OF_HTTP1: &[&[u8]] = &[PROTOCOL, b"http/1.1"];
const KNOWN: u8 = 1;
const UNKNOWN: u8 = 0;
/// How long either side waits for the other's bytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the last handshake for a connection proved.
#[derive(Clone)]
pub(crate) struct Proven {
    pub leaf: Arc<LeafFacts>,
    /// The peer as policy sees it.
    pub subject: Arc<SubjectInput>,
    /// When the first of the two SVIDs on it expires.
    pub ends: UnixTime,
}

impl Proven {
    pub(crate) fn new(leaf: Arc<LeafFacts>, ends: UnixTime) -> Self {
        let (spiffe_id, claims) = (leaf.spiffe_id.clone(), leaf.claims.clone());
        let subject = Arc::new(SubjectInput { spiffe_id, claims, issued_at: leaf.not_before });
        Self { leaf, subject, ends }
    }
}

/// The connections that a server's sidecar has open, by their keying material.
#[derive(Default)]
pub(crate) struct Renewals(Mutex<HashMap<[u8; 32], Open>>);

struct Open {
    own: SpiffeId,
    proven: watch::Sender<Proven>,
}

/// One open connection; dropped, it is not renewed any more.
pub(crate) struct Renewable<'a> {
    renewals: &'a Renewals,
    key: [u8; 32],
    pub proven: watch::Receiver<Proven>,
}

impl Renewals {
    pub(crate) fn open(&self, key: [u8; 32], own: SpiffeId, proven: Proven) -> Renewable<'_> {
        let (sender, proven) = watch::channel(proven);
        self.table().insert(key, Open { own, proven: sender });
        Renewable { renewals: self, key, proven }
    }

    /// Takes what a fresh handshake proves for the connection that its client names. Returns why not, if not.
    pub(crate) async fn answer<S>(
        &self,
        mut stream: S,
        leaf: Arc<LeafFacts>,
        own: &CurrentIdentity,
    ) -> Result<(), &'static str>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut key = [0u8; 32];
        let read = tokio::time::timeout(ANSWER_TIMEOUT, stream.read_exact(&mut key)).await;
        if !matches!(read, Ok(Ok(_))) {
            return Err("a renewal named no connection");
        }
        let renewed = self.renew(&key, leaf, own);
        let answer = if renewed.is_ok() { KNOWN } else { UNKNOWN };
        // A client that is gone renews nothing.
        let _gone = tokio::time::timeout(ANSWER_TIMEOUT, async {
            stream.write_all(&[answer]).await?;
            stream.shutdown().await
        })
        .await;
        renewed
    }

    fn renew(&self, key: &[u8; 32], leaf: Arc<LeafFacts>, own: &CurrentIdentity) -> Result<(), &'static str> {
        let table = self.table();
        let open = table.get(key).ok_or("a renewal named a connection that is not open")?;
        if open.proven.borrow().leaf.spiffe_id != leaf.spiffe_id || open.own != own.spiffe_id {
            return Err("a renewal came with another SPIFFE ID than the connection");
        }
        let ends = leaf.not_after.min(own.not_after);
        open.proven.send_replace(Proven::new(leaf, ends));
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<[u8; 32], Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewable<'_> {
    fn drop(&mut self) {
        self.renewals.table().remove(&self.key);
    }
}

/// Why a connection was not renewed.
enum NotRenewed {
    /// The peer, or what it proved, is not what it was.
    Refused(String),
    /// Nothing was learnt; it is tried again while the SVIDs last.
    Unanswered(String),
}

/// What a dialling sidecar knows of one of its connections.
pub(crate) struct Renewer {
    pub dialer: Dialer,
    /// `OF_TCP`, `OF_HTTP1` or `OF_HTTP2`.
    pub protocols: &'static [&'static [u8]],
    pub held: watch::Receiver<Option<CurrentIdentity>>,
    pub revocations: Arc<RevocationKeeper>,
    /// The peer's SVID of the last handshake.
    pub leaf: Option<LeafFacts>,
    pub own: SpiffeId,
    pub key: [u8; 32],
    pub ends: UnixTime,
}

impl Renewer {
    /// Proves both IDs anew after each rotation, and in time before an SVID on the connection expires. Returns why the
    /// connection ends.
    pub(crate) async fn until_refused(mut self) -> String {
        self.held.mark_unchanged();
        loop {
            let Some(left) = left(self.ends) else { return "an SVID on it has expired".into() };
            let pause = (left / 2).max(Duration::from_secs(1)).min(left);
            tokio::select! {
                biased;
                why = revoked(&self.revocations, self.leaf.as_ref()) => return why,
                changed = self.held.changed() => match changed {
                    // Not all connections of a sidecar in the same moment.
                    Ok(()) => tokio::time::sleep(part_of(left / 8)).await,
                    Err(_) => return "the identity was taken away".into(),
                },
                () = tokio::time::sleep(pause) => {}
            }
            let Some(held) = self.held.borrow_and_update().clone() else { return "the identity was taken away".into() };
            if held.spiffe_id != self.own {
                return "the workload has another SPIFFE ID now".into();
            }
            match self.renew(&held).await {
                Ok((leaf, ends)) => (self.leaf, self.ends) = (leaf, ends),
                Err(NotRenewed::Unanswered(reason)) => tracing::debug!(reason, "a connection was not renewed yet"),
                Err(NotRenewed::Refused(reason)) => return format!("it was not renewed: {reason}"),
            }
        }
    }

    async fn renew(&self, held: &CurrentIdentity) -> Result<(Option<LeafFacts>, UnixTime), NotRenewed> {
        let unanswered = |error: &dyn std::fmt::Display| NotRenewed::Unanswered(error.to_string());
        let mut connection = self.dialer.connect(self.protocols).await.map_err(|error| match error {
            NetError::Handshake { .. } | NetError::Peer(_) => NotRenewed::Refused(error.to_string()),
            error => unanswered(&error),
        })?;
        let leaf = connection.peer.leaf.as_ref().map(|leaf| leaf.get().clone());
        if let Some(why) = leaf.as_ref().and_then(|leaf| self.revocations.find(leaf)) {
            return Err(NotRenewed::Refused(why));
        }
        if connection.peer.protocol != PROTOCOL {
            // Bytes would reach its service.
            return Err(NotRenewed::Unanswered("the peer renews no connections".into()));
        }
        let mut answer = [UNKNOWN];
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, async {
            connection.stream.write_all(&self.key).await?;
            connection.stream.flush().await?;
            connection.stream.read_exact(&mut answer).await
        });
        asked.await.map_err(|late| unanswered(&late))?.map_err(|error| unanswered(&error))?;
        if answer != [KNOWN] {
            return Err(NotRenewed::Refused("the peer does not know it, or not by this SPIFFE ID".into()));
        }
        let theirs = leaf.as_ref().map_or(self.ends, |leaf| leaf.not_after);
        Ok((leaf, theirs.min(held.not_after)))
    }
}

/// Returns when the SVID of a peer is revoked.
pub(crate) async fn revoked(revocations: &RevocationKeeper, leaf: Option<&LeafFacts>) -> String {
    match leaf {
        Some(leaf) => revocations.revoked(leaf).await,
        None => std::future::pending().await,
    }
}

/// The time until `ends`, if it has not come.
pub(crate) fn left(ends: UnixTime) -> Option<Duration> {
    let left = u64::try_from(ends.millis().saturating_sub(now().millis())).ok()?;
    (left > 0).then(|| Duration::from_millis(left))
}

fn part_of(whole: Duration) -> Duration {
    whole.mul_f64(f64::from(u16::from_le_bytes(random_bytes())) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use sekisho_types::Claims;

    use super::*;

    fn leaf(path: &str, not_after: i64) -> Arc<LeafFacts> {
        Arc::new(LeafFacts {
            spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap(),
            not_before: UnixTime::from_millis(0),
            not_after: UnixTime::from_millis(not_after),
            serial: "1".into(),
            claims: Claims::default(),
            public_key: vec![],
            issuance: None,
        })
    }

    #[tokio::test]
    async fn only_the_same_identities_renew_a_connection() {
        let (renewals, key) = (Renewals::default(), [7; 32]);
        let own = |path: &str| CurrentIdentity {
            spiffe_id: leaf(path, 0).spiffe_id.clone(),
            not_before: UnixTime::from_millis(0),
            not_after: UnixTime::from_millis(90),
            generation: 2,
            executable: vec![],
        };
        let proven = Proven::new(leaf("till", 10), UnixTime::from_millis(10));
        let open = renewals.open(key, own("ledger").spiffe_id, proven);
        let ends = || open.proven.borrow().ends.millis();
        renewals.renew(&[8; 32], leaf("till", 80), &own("ledger")).unwrap_err();
        renewals.renew(&key, leaf("other", 80), &own("ledger")).unwrap_err();
        renewals.renew(&key, leaf("till", 80), &own("other")).unwrap_err();
        assert_eq!(ends(), 10);
        renewals.renew(&key, leaf("till", 80), &own("ledger")).unwrap();
        assert_eq!(ends(), 80);
        renewals.renew(&key, leaf("till", 99), &own("ledger")).unwrap();
        assert_eq!(ends(), 90, "no longer than our own SVID");
        drop(open);
        renewals.renew(&key, leaf("till", 80), &own("ledger")).unwrap_err();
    }
}
