//! How long a connection may be used: not longer than the SVIDs at both ends (law L11), nor after its peer is revoked
//! (law L12). A client stops earlier, so that no request is cut: its pool moves to a connection with new SVIDs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sekisho_ports::now;
use sekisho_types::UnixTime;
use tokio::sync::watch;

use crate::source::CurrentIdentity;
use crate::{Peer, RevocationKeeper};

const EXPIRED: &str = "an SVID of this connection has expired; connect again";
/// A clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) struct Lifetime {
    peer: Peer,
    ends: UnixTime,
    revocations: Option<(Arc<RevocationKeeper>, watch::Receiver<u64>)>,
    closes: Waiting<String>,
    closed: Option<String>,
}

impl Lifetime {
    /// Of a connection that was made while the own SVID was valid until `own`.
    pub(crate) fn new(peer: &Peer, own: UnixTime, keeper: Option<Arc<RevocationKeeper>>) -> Self {
        let ends = own.min(peer.svid().not_after);
        let revocations = keeper.map(|keeper| (keeper.clone(), keeper.changes()));
        let (leaf, keeper) = (peer.clone(), revocations.as_ref().map(|(keeper, _)| keeper.clone()));
        let revoked = async move {
            match keeper {
                Some(keeper) => keeper.revoked(leaf.svid()).await,
                None => std::future::pending().await,
            }
        };
        let closes = Box::pin(async move {
            tokio::select! {
                biased;
                why = revoked => why,
                () = until(ends) => EXPIRED.to_owned(),
            }
        });
        Self { peer: peer.clone(), ends, revocations, closes, closed: None }
    }

    /// Why the connection is closed now, if it is. Wakes the task when it is later.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Option<String> {
        if self.closed.is_none()
            && let Poll::Ready(why) = self.closes.as_mut().poll(context)
        {
            self.closed = Some(why);
        }
        self.closed.clone()
    }

    /// The same for the task that writes, which may be another one.
    pub(crate) fn check(&mut self) -> Option<String> {
        if self.closed.is_none() && now() >= self.ends {
            self.closed = Some(EXPIRED.to_owned());
        }
        if let Some((keeper, changes)) = &mut self.revocations
            && changes.has_changed().unwrap_or(false)
        {
            changes.mark_unchanged();
            self.closed = self.closed.take().or_else(|| keeper.find(self.peer.svid()));
        }
        self.closed.clone()
    }
}

/// Returns when a client should use a connection no more: its own identity has rotated, or half of what remained of the
/// peer's SVID has passed. Requests that are open have the other half to finish.
pub(crate) async fn retires(peer: Peer, generation: u64, mut held: watch::Receiver<Option<CurrentIdentity>>) {
    let (now, ends) = (now(), peer.svid().not_after);
    let half = UnixTime::from_nanos(now.nanos() + (ends.nanos() - now.nanos()) / 2);
    let is_new = |held: &Option<CurrentIdentity>| held.as_ref().is_none_or(|held| held.generation != generation);
    tokio::select! {
        biased;
        _gone = held.wait_for(is_new) => {}
        () = until(half) => {}
    }
}

async fn until(end: UnixTime) {
    while let Ok(left @ 1..) = u64::try_from(end.nanos() - now().nanos()) {
        tokio::time::sleep(Duration::from_nanos(left).min(LONGEST_SLEEP)).await;
    }
}
