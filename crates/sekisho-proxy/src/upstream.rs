//! Requests to the workload, over connections of our own: it is dialled at its own address, whatever a request says.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sekisho_host::Ownership;

use crate::answer::{Answer, Answers};
use crate::config::{Local, Protocol};
use crate::decisions::Decider;
use crate::idle::Idle;
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

pub(crate) type Sender1 = http1::SendRequest<Body>;
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
    answers: Arc<Answers>,
}

/// A request's body on its way to the service, which has its turn for as long.
struct Sent {
    body: Body,
    _turn: Arc<Turn>,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Upstream {
    pub(crate) fn new(
        at: Local,
        workload: Arc<Ownership>,
        protocol: Protocol,
        decider: Arc<Decider>,
        connections: usize,
        body_idle: Duration,
    ) -> Arc<Self> {
        // A service that has just started is there at once: its failures are not remembered.
        let (idle, shared, turns) = (Mutex::default(), SharedDial::new(Duration::ZERO), Turns::new(connections));
        let (sweeping, answers) = (AtomicBool::new(false), Answers::swept(body_idle));
        Arc::new(Self { at, workload, protocol, decider, idle, sweeping, shared, turns, answers })
    }

    /// Sends a request of `peer` once it is its turn: in origin form for HTTP/1.1, with scheme and authority for HTTP/2.
    pub(crate) async fn send(
        self: &Arc<Self>,
        peer: &str,
        mut request: Request<Body>,
        idle: &Idle,
    ) -> Result<Response<Answer>, UpstreamError> {
        let turn = Arc::new(self.turns.take(peer).await?);
        // A service may answer before it has read the request, whose rest keeps the connection.
        request = request.map(|body| Sent { body, _turn: turn.clone() }.boxed());
        if self.protocol == Protocol::H2c {
            let response = self.shared().await?.send_request(request).await?;
            return Ok(response.map(|body| self.answers.answer(body, None, turn, idle)));
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
                    return Ok(response.map(|body| self.answers.answer(body, lease, turn, idle)));
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

    pub(crate) fn give_back(self: Arc<Self>, sender: Sender1) {
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use http_body_util::Empty;
    use sekisho_disk::Spool;
    use sekisho_host::Process;

    use super::*;
    use crate::policy::PolicyKeeper;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_that_its_peer_does_not_read_gives_its_turn_back() {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Local::Tcp(service.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = service.accept().unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
            // Until the sidecar closes it.
            while stream.write_all(&[0; 65_536]).is_ok() {}
        });
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("spool"), 1_000_000, "s").unwrap();
        let keeper = Arc::new(PolicyKeeper::open(folder.path().join("policy.json")));
        let (_held, held) = tokio::sync::watch::channel(None);
        let decider = Arc::new(Decider::new(keeper, spool, held));
        let workload = Ownership::of(Arc::new(Process::open(std::process::id().cast_signed()).unwrap()));
        let limit = Duration::from_millis(400);
        let upstream = Upstream::new(at, workload, Protocol::Http1, decider, 2, limit);
        let request = Request::builder().uri("/").header("host", "a");
        let request = request.body(Empty::new().map_err(|never| match never {}).boxed()).unwrap();
        let mut answer = upstream.send("peer", request, &Idle::new(limit)).await.unwrap().into_body();
        assert!(upstream.turns.try_take("peer").is_none(), "it has the only turn of its peer");
        answer.frame().await.unwrap().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while upstream.turns.try_take("peer").is_none() {
            assert!(Instant::now() < end, "the turn did not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(answer.frame().await.unwrap().is_err());
        tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
    }
}
