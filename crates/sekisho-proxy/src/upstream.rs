//! Requests to the workload, over connections of our own: it is dialled at its own address, whatever a request says.

use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sekisho_host::Ownership;
use sekisho_net::broken_rule;
use sekisho_runtime::instant;
use tokio::time::Instant;

use crate::answer::{Answer, Answers};
use crate::answer_frames::AnswerFrames;
use crate::answer_head::{AnswerError, Failed, exchange};
use crate::body_filter::{Body, BodyFilter, FilteredBody, Polled};
use crate::config::{Local, Protocol};
use crate::decisions::Decider;
use crate::fair_queue::{FairQueue, NoPermit, Permit};
use crate::idle::Idle;
use crate::idle_pool::{Http1Sender, IdlePool};
use crate::local::{self, LocalError};
use crate::program;
use crate::read_first::ReadFirst;
use crate::shared_dial::SharedDial;

/// How long after the start of this sidecar its workload may take to listen.
const STARTING: Duration = Duration::from_secs(5);
/// How long a connection waits for its next request.
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
    NoPermit(#[from] NoPermit),
    /// The same failure for all who waited for one dial.
    #[error(transparent)]
    Shared(Arc<UpstreamError>),
    #[error("the connection attempt was cancelled")]
    GivenUp,
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

type Http2Sender = http2::SendRequest<Body>;

pub(crate) struct Upstream {
    pub at: Local,
    workload: Arc<Ownership>,
    protocol: Protocol,
    decider: Arc<Decider>,
    idle: Arc<IdlePool<Http1Sender>>,
    /// The one connection of a service that speaks HTTP/2.
    shared: Arc<SharedDial<Http2Sender, UpstreamError>>,
    queue: Arc<FairQueue>,
    answers: Arc<Answers>,
    opened: Instant,
}

/// A request's body holds its permit until it was sent.
impl BodyFilter for Arc<Permit> {
    fn pass(&mut self, polled: Polled, _: &mut Context<'_>) -> Polled {
        polled
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
        let (idle, shared) = (IdlePool::with_timeout(IDLE), SharedDial::new(Duration::ZERO));
        let (queue, answers) = (FairQueue::new(connections), Answers::with_idle_limit(body_idle));
        let opened = instant();
        Arc::new(Self { at, workload, protocol, decider, idle, shared, queue, answers, opened })
    }

    /// Sends a request of `peer` once it has a permit: in origin form for HTTP/1.1, with scheme and authority for
    /// HTTP/2.
    pub(crate) async fn send(
        self: &Arc<Self>,
        peer: impl Into<Arc<str>>,
        mut request: Request<Body>,
        idle: &Idle,
    ) -> Result<Response<Answer>, UpstreamError> {
        let permit = Arc::new(self.queue.take(peer).await?);
        // A service may answer before it has read the request, whose rest keeps the connection.
        if !request.body().is_end_stream() {
            request = request.map(|body| FilteredBody::by(body, permit.clone()).boxed());
        }
        if self.protocol == Protocol::H2c {
            let sent = self.shared().await?.send_request(request).await;
            let response = sent.map_err(|error| self.recorded(error.into()))?;
            return Ok(response.map(|body| self.answers.answer(body, None, permit, idle)));
        }
        loop {
            let pooled = self.idle.take(|_| true);
            let reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => self.dial().await?,
            };
            match exchange(&mut sender, request).await {
                Ok(response) => {
                    let lease = Some((sender, self.idle.clone()));
                    return Ok(response.map(|body| self.answers.answer(body, lease, permit, idle)));
                }
                // The service closed a connection that waited, and nothing of the request was sent.
                Err(Failed::Http(mut error)) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(self.recorded((*error).into_error().into())),
                },
                Err(Failed::Answer(error)) => return Err(self.recorded(error.into())),
            }
        }
    }

    /// Records an answer of the workload that is not one.
    fn recorded(&self, error: UpstreamError) -> UpstreamError {
        let broken = match &error {
            UpstreamError::Answer(error) => Some(error.to_string()),
            UpstreamError::Http(error) => broken_rule(error),
            _ => None,
        };
        if let Some(rule) = broken {
            self.decider.refuse("answer", &self.at.to_string(), &rule);
        }
        error
    }

    /// A raw connection, for protocols other than HTTP. It takes a permit of `peer`, or is refused at once.
    pub(crate) async fn raw_connection(&self, peer: &str) -> Result<(Box<dyn local::Stream>, Permit), UpstreamError> {
        let permit = self.queue.try_take(peer).ok_or(NoPermit::TooMany)?;
        Ok((self.connect().await?, permit))
    }

    /// Connects to the service. One that was started a moment ago may not listen yet.
    async fn connect(&self) -> Result<Box<dyn local::Stream>, LocalError> {
        let listens = loop {
            match local::connect(&self.at, &self.workload).await {
                Err(LocalError::Io { source, .. })
                    if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                        && instant().duration_since(self.opened) < STARTING =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                connected => break connected,
            }
        };
        let connected = match listens {
            Ok(stream) => program::check(self.decider.held(), self.workload.process()).await.map(|()| stream),
            failed => failed,
        };
        if let Err(error @ LocalError::NotTheWorkload(_)) = &connected {
            self.decider.refuse("upstream", &self.at.to_string(), &error.to_string());
        }
        connected
    }

    async fn dial(&self) -> Result<Http1Sender, UpstreamError> {
        let stream = self.connect().await?;
        // A service that answers faster than the peer reads waits for it.
        let stream = TokioIo::new(ReadFirst::new(stream));
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the service failed");
            }
        });
        Ok(sender)
    }

    async fn shared(self: &Arc<Self>) -> Result<Http2Sender, UpstreamError> {
        let dial = || {
            let upstream = self.clone();
            async move {
                let stream = upstream.connect().await?;
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new());
                let (decider, at) = (upstream.decider.clone(), upstream.at.to_string());
                let refuse = move |error: AnswerError| decider.refuse("answer", &at, &error.to_string());
                let stream = TokioIo::new(AnswerFrames::new(ReadFirst::new(stream), refuse));
                let (sender, connection) = builder.handshake(stream).await?;
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "the connection to the service failed");
                    }
                });
                Ok(sender)
            }
        };
        let shared = self.shared.get(0, |sender: &Http2Sender| !sender.is_closed(), dial).await;
        shared.ok_or(UpstreamError::GivenUp)?.map_err(UpstreamError::Shared)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::Ordering;

    use http_body_util::Empty;
    use sekisho_disk::Spool;
    use sekisho_host::Process;
    use sekisho_runtime::instant;

    use super::*;
    use crate::policy::PolicyKeeper;

    /// An upstream at `at`, with two permits of which a peer has one.
    fn upstream(at: Local, limit: Duration) -> Arc<Upstream> {
        upstream_with(at, 2, limit)
    }

    fn upstream_with(at: Local, permits: usize, limit: Duration) -> Arc<Upstream> {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("spool"), 1_000_000, "s").unwrap();
        let keeper = Arc::new(PolicyKeeper::open(folder.path().join("policy.json")));
        let (_held, held) = tokio::sync::watch::channel(None);
        let (decider, writer) = Decider::new(keeper, spool, held);
        let decider = Arc::new(decider);
        tokio::spawn(writer.run());
        let workload = Ownership::of(Arc::new(Process::open(std::process::id().cast_signed()).unwrap()));
        Upstream::new(at, workload, Protocol::Http1, decider, permits, limit)
    }

    fn request(body: Body) -> Request<Body> {
        Request::builder().uri("/").header("host", "a").body(body).unwrap()
    }

    fn empty() -> Body {
        Empty::new().map_err(|never| match never {}).boxed()
    }

    fn service() -> (std::net::TcpListener, Local) {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Local::Tcp(service.local_addr().unwrap());
        (service, at)
    }

    async fn comes_back(upstream: &Upstream) {
        let end = instant() + Duration::from_secs(10);
        while upstream.queue.try_take("peer").is_none() {
            assert!(instant() < end, "the permit did not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unread_answer_releases_its_permit() {
        let (service, at) = service();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = service.accept().unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
            // Until the sidecar closes it.
            while stream.write_all(&[0; 65_536]).is_ok() {}
        });
        let limit = Duration::from_millis(400);
        let upstream = upstream(at, limit);
        let mut answer = upstream.send("peer", request(empty()), &Idle::new(limit)).await.unwrap().into_body();
        assert!(upstream.queue.try_take("peer").is_none(), "it has the only permit of its peer");
        answer.frame().await.unwrap().unwrap();
        comes_back(&upstream).await;
        assert!(answer.frame().await.unwrap().is_err());
        tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn law_l9_many_streams_do_not_delay_others() {
        const TURNS: usize = 64;
        const REFUSED: usize = 2000 - TURNS / 2 * 5;
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Local::Tcp(service.local_addr().unwrap());
        let (opened, connections) = (Arc::new(std::sync::atomic::AtomicUsize::new(0)), TURNS / 2 + 1);
        let counts = opened.clone();
        let _served = std::thread::spawn(move || {
            // Nothing is answered but the other peer's request, which names itself.
            while let Ok((mut stream, _)) = service.accept() {
                counts.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let mut head = [0; 4096];
                    let read = stream.read(&mut head).unwrap();
                    if head[..read].windows(7).any(|part| part == b"other: ") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                    }
                    let _until_closed = stream.read_to_end(&mut vec![]);
                });
            }
        });
        let limit = Duration::from_secs(60);
        let upstream = upstream_with(at, TURNS, limit);
        let streams: Vec<_> = (0..2000)
            .map(|_| {
                let upstream = upstream.clone();
                tokio::spawn(
                    async move { upstream.send("greedy", request(empty()), &Idle::new(limit)).await.map(drop) },
                )
            })
            .collect();
        let end = instant() + Duration::from_secs(20);
        while opened.load(Ordering::Relaxed) < TURNS / 2 {
            assert!(instant() < end, "{} connections", opened.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut other = request(empty());
        other.headers_mut().insert("other", http::HeaderValue::from_static("1"));
        let began = instant();
        let idle = Idle::new(limit);
        let answer = tokio::time::timeout(Duration::from_secs(5), upstream.send("other", other, &idle)).await;
        assert_eq!(answer.unwrap().unwrap().status(), 200, "{:?}", began.elapsed());
        assert!(opened.load(Ordering::Relaxed) <= connections, "{} connections", opened.load(Ordering::Relaxed));
        // Those that cannot wait are refused at once, and the others wait; none fails in another way.
        while streams.iter().filter(|stream| stream.is_finished()).count() < REFUSED && instant() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (mut refused, mut waiting) = (0, 0);
        for stream in streams {
            if !stream.is_finished() {
                waiting += 1;
                stream.abort();
            } else if let Err(UpstreamError::NoPermit(NoPermit::TooMany)) = stream.await.unwrap() {
                refused += 1;
            }
        }
        assert_eq!((refused + waiting, refused), (2000, REFUSED));
    }

    /// A large body in parts, between which others run.
    struct Large {
        parts: usize,
        rests: bool,
    }

    impl http_body::Body for Large {
        type Data = bytes::Bytes;
        type Error = crate::body_filter::BoxError;

        fn poll_frame(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
            self.rests = !self.rests;
            if self.rests {
                context.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            let Some(left) = self.parts.checked_sub(1) else { return std::task::Poll::Ready(None) };
            self.parts = left;
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 16 * 1024])))))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_during_an_upload_reaches_the_caller() {
        const TIMES: usize = 60;
        let (service, at) = service();
        let served = std::thread::spawn(move || {
            for _ in 0..TIMES {
                let (mut stream, _) = service.accept().unwrap();
                let _head = stream.read(&mut [0; 100]).unwrap();
                stream
                    .write_all(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 7\r\n\r\ntoo big")
                    .unwrap();
                // Closed with most of the request unread, which resets the connection.
            }
        });
        let limit = Duration::from_secs(20);
        let upstream = upstream(at, limit);
        for time in 0..TIMES {
            let request =
                Request::builder().method("POST").uri("/").header("host", "a").header("content-length", 1 << 23);
            let request = request.body(Large { parts: 512, rests: false }.boxed()).unwrap();
            let answer = upstream.send("peer", request, &Idle::new(limit)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{time}: {error:?}"));
            assert_eq!(answer.status(), 413);
            let body = answer.into_body().collect().await.unwrap_or_else(|error| panic!("{time}: {error:?}"));
            assert_eq!(body.to_bytes(), "too big");
        }
        tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
    }

    /// A body of which nothing more comes until it is dropped.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = bytes::Bytes;
        type Error = crate::body_filter::BoxError;

        fn poll_frame(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
            std::task::Poll::Pending
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unfinished_request_keeps_its_permit() {
        let (service, at) = service();
        let limit = Duration::from_secs(20);
        let upstream = upstream(at, limit);
        let served = std::thread::spawn(move || {
            let (mut stream, _) = service.accept().unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            stream
        });
        let request = Request::builder().method("POST").uri("/").header("host", "a").header("content-length", 5);
        let request = request.body(Silent.boxed()).unwrap();
        let answer = upstream.send("peer", request, &Idle::new(limit)).await.unwrap();
        answer.into_body().collect().await.unwrap();
        let stream = tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(upstream.queue.try_take("peer").is_none(), "the answer is whole, and its request is not");
        drop(stream);
        comes_back(&upstream).await;
    }
}
