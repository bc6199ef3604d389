//! HTTP/1.1 connections to a peer's sidecar, one request at a time on each (decisions/0050). All of them are opened
//! with the SVID that the workload has at that moment, and none is used for a request of another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sekisho_identity::LeafFacts;
use sekisho_sdk::Held;
use sekisho_types::UnixTime;
use tokio::sync::watch;

use crate::dialling::{DialError, PeerDialer, leaf_of};
use crate::kept::{Kept, Sender1, Waits};
use crate::read_first::ReadFirst;
use crate::renewal;
use crate::seldom::Seldom;
use crate::serving::withdrawn;
use crate::shared_dial::SharedDial;

/// What sidecars agree on (ALPN, RFC 7301): HTTP/1.1 by their rules. A sidecar that does not know it chooses `h2`, and
/// other clients that offer `http/1.1` beside `h2` get what they got before.
pub(crate) const PROTOCOL: &[u8] = b"sekisho-http/1";
/// Connections to one peer; what is asked beyond them goes over the HTTP/2 connection.
const MAX_OPEN: usize = 256;
/// How long one waits for its next request: shorter than the peer's sidecar waits.
const IDLE: Duration = Duration::from_secs(60);
/// And how long a peer's connection may be idle.
pub(crate) const PEER_IDLE: Duration = Duration::from_secs(75);
/// A connection that ends so soon begins no request: its peer may be closing it.
const MARGIN: Duration = Duration::from_secs(3);
/// What is read of an answer before it is passed on, in bytes.
const BUFFER: usize = 64 * 1024;

/// What a peer's sidecar chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

/// One connection, for one request at a time.
pub(crate) struct Connection {
    pub sender: Sender1,
    generation: u64,
    /// When the first of the SVIDs on it expires.
    ends: UnixTime,
    peer: Option<Arc<LeafFacts>>,
}

impl Waits for Connection {
    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// What a request goes over.
pub(crate) enum Way {
    /// A connection that other requests went over before.
    Kept(Connection),
    Fresh(Connection),
    Http2,
}

pub(crate) struct Http1 {
    dialer: Arc<PeerDialer>,
    pub kept: Arc<Kept<Connection>>,
    open: Arc<AtomicUsize>,
    /// What the peer speaks, and the failures to find that out: all requests wait for one dial.
    spoken: Arc<SharedDial<Speaks, DialError>>,
}

impl Http1 {
    pub(crate) fn new(dialer: Arc<PeerDialer>, longest_pause: Duration) -> Arc<Self> {
        let (kept, spoken) = (Kept::for_at_most(IDLE), SharedDial::new(longest_pause));
        Arc::new(Self { dialer, kept, open: Arc::default(), spoken })
    }

    /// A connection of the current SVID that carries no request.
    pub(crate) async fn way(self: &Arc<Self>, held: &Held) -> Result<Way, DialError> {
        if let Some(kept) = self.take(held) {
            return Ok(Way::Kept(kept));
        }
        if self.spoken(held).await? == Speaks::Http2 {
            return Ok(Way::Http2);
        }
        // That dial has left a connection, which this request or another takes.
        if let Some(kept) = self.take(held) {
            return Ok(Way::Kept(kept));
        }
        let failures = &self.spoken.failures;
        if let Some(error) = failures.recent(held.generation) {
            return Err(DialError::Shared(error));
        }
        let Some(place) = Place::take(&self.open) else { return Ok(Way::Http2) };
        match self.dial(held, place).await {
            Ok(Some(fresh)) => {
                failures.succeeded();
                Ok(Way::Fresh(fresh))
            }
            // It is another sidecar than before.
            Ok(None) => {
                self.spoken.forget(held.generation);
                Ok(Way::Http2)
            }
            Err(error) => {
                let error = Arc::new(error);
                failures.failed(held.generation, error.clone());
                Err(DialError::Shared(error))
            }
        }
    }

    fn take(&self, held: &Held) -> Option<Connection> {
        self.kept.take(|kept| {
            let revoked = kept.peer.as_ref().is_some_and(|peer| self.dialer.revocations.find(peer).is_some());
            kept.generation == held.generation && renewal::left(kept.ends).is_some_and(|left| left > MARGIN) && !revoked
        })
    }

    /// What the peer speaks: known while a connection is open, and else found out by one dial.
    async fn spoken(self: &Arc<Self>, held: &Held) -> Result<Speaks, DialError> {
        let known = |speaks: &Speaks| *speaks == Speaks::Http2 || self.open.load(Ordering::Relaxed) > 0;
        let dial = || {
            let (http1, held) = (self.clone(), held.clone());
            async move {
                let place = Place::first(&http1.open);
                let Some(first) = http1.dial(&held, place).await? else { return Ok(Speaks::Http2) };
                http1.kept.clone().give_back(first);
                Ok(Speaks::Http1)
            }
        };
        let spoken = self.spoken.get(held.generation, known, dial).await;
        spoken.ok_or(DialError::GivenUp)?.map_err(DialError::Shared)
    }

    /// A new connection, if the peer's sidecar speaks HTTP/1.1 on it.
    async fn dial(&self, held: &Held, place: Place) -> Result<Option<Connection>, DialError> {
        let dialled = self.dialer.dial(&[PROTOCOL, b"h2"]).await?;
        if dialled.peer.protocol != PROTOCOL {
            return Ok(None);
        }
        // A long request on it goes on over rotations as long as both ends prove who they are.
        let renewer = self.dialer.renewer(&dialled.peer, held, renewal::OF_HTTP1);
        let (peer, ends, generation) = (leaf_of(&dialled.peer).map(Arc::new), renewer.ends, held.generation);
        // A peer may answer before it has read the request, and close.
        let stream = TokioIo::new(ReadFirst::new(dialled.stream));
        let (sender, driver) = http1::Builder::new().max_buf_size(BUFFER).max_headers(128).handshake(stream).await?;
        let (identity, kept) = (self.dialer.identity.held.clone(), Arc::downgrade(&self.kept));
        tokio::spawn(async move {
            let _place = place;
            // A connection lives no longer than the SVIDs on it, nor than the identity.
            let mut ends = Seldom::new(async {
                tokio::select! {
                    biased;
                    () = withdrawn(identity.clone()) => {}
                    why = renewer.until_refused() => tracing::info!(why, "a connection to a peer was closed"),
                    () = let_go_after_rotation(identity.clone(), kept, generation) => {}
                }
            });
            tokio::select! {
                biased;
                () = ends.happens() => {}
                closed = driver => if let Err(error) = closed {
                    tracing::debug!(%error, "a connection to a peer closed");
                },
            }
        });
        Ok(Some(Connection { sender, generation, ends, peer }))
    }
}

/// One of the connections that are open.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self::first(open);
        (open.load(Ordering::Relaxed) <= MAX_OPEN).then_some(place)
    }

    fn first(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes the connections of an earlier SVID that carry no request. Does not return.
async fn let_go_after_rotation(
    mut identity: watch::Receiver<Option<Held>>,
    kept: Weak<Kept<Connection>>,
    generation: u64,
) {
    let rotated = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.generation != generation);
    let rotated = identity.wait_for(rotated).await.is_ok();
    if let Some(kept) = kept.upgrade().filter(|_| rotated) {
        kept.retain(|kept| kept.generation != generation);
    }
    std::future::pending().await
}
