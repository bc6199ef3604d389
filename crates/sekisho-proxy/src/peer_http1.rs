//! HTTP/1.1 connections to a peer's sidecar, one request at a time on each (decisions/0050). All of them are opened
//! with the SVID that the workload has at that moment, and none is used for a request of another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sekisho_identity::LeafFacts;
use sekisho_sdk::CurrentIdentity;
use sekisho_types::UnixTime;
use tokio::sync::watch;

use crate::dialling::{DialError, PeerDialer, leaf_of};
use crate::idle_pool::{Http1Sender, IdlePool, Reusable};
use crate::poll_on_wake::PollOnWake;
use crate::read_first::ReadFirst;
use crate::renewal;
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

/// The protocol that a peer's sidecar chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PeerProtocol {
    Http1,
    Http2,
}

/// One connection, for one request at a time.
pub(crate) struct Connection {
    pub sender: Http1Sender,
    generation: u64,
    /// When the first of the SVIDs on it expires.
    ends: UnixTime,
    peer: Option<Arc<LeafFacts>>,
}

impl Reusable for Connection {
    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// The connection for a request.
pub(crate) enum Route {
    /// A connection that other requests used before.
    Reused(Connection),
    Fresh(Connection),
    Http2,
}

pub(crate) struct Http1 {
    dialer: Arc<PeerDialer>,
    pub idle: Arc<IdlePool<Connection>>,
    open: Arc<AtomicUsize>,
    /// What the peer speaks, and the failures to find that out: all requests wait for one dial.
    protocol: Arc<SharedDial<PeerProtocol, DialError>>,
}

impl Http1 {
    pub(crate) fn new(dialer: Arc<PeerDialer>, longest_pause: Duration) -> Arc<Self> {
        let (idle, protocol) = (IdlePool::with_timeout(IDLE), SharedDial::new(longest_pause));
        Arc::new(Self { dialer, idle, open: Arc::default(), protocol })
    }

    /// A connection of the current SVID that carries no request.
    pub(crate) async fn route(self: &Arc<Self>, held: &CurrentIdentity) -> Result<Route, DialError> {
        if let Some(connection) = self.take(held) {
            return Ok(Route::Reused(connection));
        }
        if self.protocol(held).await? == PeerProtocol::Http2 {
            return Ok(Route::Http2);
        }
        // That dial has left a connection, which this request or another takes.
        if let Some(connection) = self.take(held) {
            return Ok(Route::Reused(connection));
        }
        let failures = &self.protocol.failures;
        if let Some(error) = failures.recent(held.generation) {
            return Err(DialError::Shared(error));
        }
        let Some(slot) = ConnectionSlot::take(&self.open) else { return Ok(Route::Http2) };
        match self.dial(held, slot).await {
            Ok(Some(fresh)) => {
                failures.succeeded();
                Ok(Route::Fresh(fresh))
            }
            // It is another sidecar than before.
            Ok(None) => {
                self.protocol.forget(held.generation);
                Ok(Route::Http2)
            }
            Err(error) => {
                let error = Arc::new(error);
                failures.failed(held.generation, error.clone());
                Err(DialError::Shared(error))
            }
        }
    }

    fn take(&self, held: &CurrentIdentity) -> Option<Connection> {
        self.idle.take(|connection| {
            let revoked = connection.peer.as_ref().is_some_and(|peer| self.dialer.revocations.find(peer).is_some());
            connection.generation == held.generation
                && renewal::left(connection.ends).is_some_and(|left| left > MARGIN)
                && !revoked
        })
    }

    /// What the peer speaks: known while a connection is open, and else found out by one dial.
    async fn protocol(self: &Arc<Self>, held: &CurrentIdentity) -> Result<PeerProtocol, DialError> {
        let known = |protocol: &PeerProtocol| *protocol == PeerProtocol::Http2 || self.open.load(Ordering::Relaxed) > 0;
        let dial = || {
            let (http1, held) = (self.clone(), held.clone());
            async move {
                let slot = ConnectionSlot::first(&http1.open);
                let Some(first) = http1.dial(&held, slot).await? else { return Ok(PeerProtocol::Http2) };
                http1.idle.clone().give_back(first);
                Ok(PeerProtocol::Http1)
            }
        };
        let protocol = self.protocol.get(held.generation, known, dial).await;
        protocol.ok_or(DialError::GivenUp)?.map_err(DialError::Shared)
    }

    /// A new connection, if the peer's sidecar speaks HTTP/1.1 on it.
    async fn dial(&self, held: &CurrentIdentity, slot: ConnectionSlot) -> Result<Option<Connection>, DialError> {
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
        let (identity, idle) = (self.dialer.identity.held.clone(), Arc::downgrade(&self.idle));
        tokio::spawn(async move {
            let _slot = slot;
            // A connection lives no longer than the SVIDs on it, nor than the identity.
            let mut ends = PollOnWake::new(async {
                tokio::select! {
                    biased;
                    () = withdrawn(identity.clone()) => {}
                    why = renewer.until_refused() => tracing::info!(why, "a connection to a peer was closed"),
                    () = drop_after_rotation(identity.clone(), idle, generation) => {}
                }
            });
            tokio::select! {
                biased;
                () = ends.ready() => {}
                closed = driver => if let Err(error) = closed {
                    tracing::debug!(%error, "a connection to a peer closed");
                },
            }
        });
        Ok(Some(Connection { sender, generation, ends, peer }))
    }
}

/// One of the connections that are open.
struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionSlot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self::first(open);
        (open.load(Ordering::Relaxed) <= MAX_OPEN).then_some(slot)
    }

    fn first(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes the connections of an earlier SVID that carry no request. Does not return.
async fn drop_after_rotation(
    mut identity: watch::Receiver<Option<CurrentIdentity>>,
    idle: Weak<IdlePool<Connection>>,
    generation: u64,
) {
    let rotated = |held: &Option<CurrentIdentity>| held.as_ref().is_some_and(|held| held.generation != generation);
    let rotated = identity.wait_for(rotated).await.is_ok();
    if let Some(idle) = idle.upgrade().filter(|_| rotated) {
        idle.retain(|connection| connection.generation != generation);
    }
    std::future::pending().await
}
