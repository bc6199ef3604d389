//! Requests to the workload, over connections of our own: it is dialled at its own address, whatever a request says.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sekisho_host::Ownership;

use crate::config::{Local, Protocol};
use crate::decisions::Decider;
use crate::inbound::Body;
use crate::local::{self, LocalError};
use crate::program;
use crate::shared_dial::SharedDial;
use crate::turns::{NoTurn, Turn, Turns};

/// Connections that are kept although nothing passes on them, and for how long.
const MAX_IDLE: usize = 256;
const IDLE: Duration = Duration::from_secs(15);

/// What is read of an answer before it is passed on, in bytes.
const BUFFER: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    NoTurn(#[from] NoTurn),
    /// The same failure for all who waited for one dial.
    #[error(transparent)]
    Shared(Arc<UpstreamError>),
    #[error("the dial was given up")]
    GivenUp,
}

type Sender1 = http1::SendRequest<Body>;
type Sender2 = http2::SendRequest<Body>;

pub(crate) struct Upstream {
    pub at: Local,
    workload: Arc<Ownership>,
    protocol: Protocol,
    decider: Arc<Decider>,
    /// Newest last.
    idle: Mutex<Vec<(Sender1, Instant)>>,
    sweeping: AtomicBool,
    /// The one connection of a service that speaks HTTP/2.
    shared: Arc<SharedDial<Sender2, UpstreamError>>,
    turns: Arc<Turns>,
}

impl Upstream {
    pub(crate) fn new(
        at: Local,
        workload: Arc<Ownership>,
        protocol: Protocol,
        decider: Arc<Decider>,
        connections: usize,
    ) -> Arc<Self> {
        // A service that has just started is there at once: its failures are not remembered.
        let (idle, shared, turns) = (Mutex::default(), SharedDial::new(Duration::ZERO), Turns::new(connections));
        Arc::new(Self { at, workload, protocol, decider, idle, sweeping: AtomicBool::new(false), shared, turns })
    }

    /// Sends a request of `peer` once it is its turn: in origin form for HTTP/1.1, with scheme and authority for HTTP/2.
    pub(crate) async fn send(
        self: &Arc<Self>,
        peer: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Answer>, UpstreamError> {
        let turn = self.turns.take(peer).await?;
        if self.protocol == Protocol::H2c {
            let response = self.shared().await?.send_request(request).await?;
            return Ok(response.map(|body| Answer { body, ended: false, lease: None, _turn: turn }));
        }
        loop {
            let kept = self.take();
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.dial().await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Some((sender, self.clone()));
                    return Ok(response.map(|body| Answer { body, ended: false, lease, _turn: turn }));
                }
                // The service closed a connection that waited, and nothing of the request was sent.
                Err(mut error) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// The bare connection, for what is not HTTP. It takes a turn of `peer`, or is refused at once.
    pub(crate) async fn bare(&self, peer: &str) -> Result<(Box<dyn local::Stream>, Turn), UpstreamError> {
        let turn = self.turns.try_take(peer).ok_or(NoTurn::TooMany)?;
        Ok((self.connect().await?, turn))
    }

    async fn connect(&self) -> Result<Box<dyn local::Stream>, LocalError> {
        let connected = match local::connect(&self.at, &self.workload).await {
            Ok(stream) => program::check(self.decider.held(), self.workload.process()).await.map(|()| stream),
            failed => failed,
        };
        if let Err(error @ LocalError::NotTheWorkload(_)) = &connected {
            self.decider.refuse("upstream", &self.at.to_string(), &error.to_string());
        }
        connected
    }

    async fn dial(&self) -> Result<Sender1, UpstreamError> {
        let stream = self.connect().await?;
        // A service that answers faster than the peer reads waits for it.
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the service ended");
            }
        });
        Ok(sender)
    }

    async fn shared(self: &Arc<Self>) -> Result<Sender2, UpstreamError> {
        let dial = || {
            let upstream = self.clone();
            async move {
                let stream = upstream.connect().await?;
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new());
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "the connection to the service ended");
                    }
                });
                Ok(sender)
            }
        };
        let shared = self.shared.get(0, |sender: &Sender2| !sender.is_closed(), dial).await;
        shared.ok_or(UpstreamError::GivenUp)?.map_err(UpstreamError::Shared)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Sender1, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest connection that can take a request at once.
    fn take(&self) -> Option<Sender1> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.swap_remove(at).0)
    }

    fn give_back(self: Arc<Self>, sender: Sender1) {
        let mut idle = self.idle();
        if sender.is_closed() || idle.len() >= MAX_IDLE {
            return;
        }
        idle.push((sender, Instant::now()));
        drop(idle);
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self)));
        }
    }
}

/// Closes what nobody used for a while; ends when nothing is left.
async fn sweep(upstream: Weak<Upstream>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let mut idle = upstream.idle();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        if idle.is_empty() {
            upstream.sweeping.store(false, Ordering::Relaxed);
            return;
        }
    }
}

/// The body of an answer. Once it has been read whole, its connection takes the next request.
pub(crate) struct Answer {
    body: Incoming,
    ended: bool,
    lease: Option<(Sender1, Arc<Upstream>)>,
    /// Given back after the lease, so that whoever is next finds the connection.
    _turn: Turn,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // What was not read whole ends with its connection.
        if let Some((sender, upstream)) = self.lease.take().filter(|_| self.ended || self.body.is_end_stream()) {
            upstream.give_back(sender);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
