//! A request's body on its way out, and why it did not arrive whole: where the fault is the caller's, so is the answer.

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::time::{Sleep, sleep};

use crate::body_filter::{BodyFilter, FilteredBody, Polled};
use crate::http1_scan::Framing;
use crate::idle::TimedOut;
use crate::judged::Stopped;

/// How long a body that is announced by `Expect: 100-continue` is held back, so that a refusal comes before it (RFC
/// 9110 §10.1.1). HTTP/2 stacks pass no interim response on, so that silence must count as leave.
const HELD_BACK: Duration = Duration::from_millis(500);

/// Why a request's body is incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub status: StatusCode,
    pub detail: String,
}

/// How far one request's body came: its fault, if there was one, and whether all of it was read.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Noted>);

#[derive(Default)]
struct Noted {
    fault: OnceLock<Fault>,
    whole: AtomicBool,
}

impl Faults {
    pub(crate) fn found(&self) -> Option<&Fault> {
        self.0.fault.get()
    }

    pub(crate) fn came_whole(&self) -> bool {
        self.0.whole.load(Ordering::Relaxed)
    }

    fn note(&self, error: &(dyn Error + Send + Sync + 'static)) {
        let (mut status, mut detail) = (StatusCode::BAD_REQUEST, "the request's body did not come whole".to_owned());
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(stopped) = error.downcast_ref::<Stopped>() {
                detail = stopped.to_string();
                if matches!(stopped, Stopped::Denied) {
                    status = StatusCode::FORBIDDEN;
                }
            } else if let Some(framing) = error.downcast_ref::<Framing>() {
                detail = framing.to_string();
            } else if let Some(late) = error.downcast_ref::<TimedOut>() {
                (status, detail) = (StatusCode::GATEWAY_TIMEOUT, late.to_string());
            }
            cause = match error.downcast_ref::<std::io::Error>() {
                // Its source is that of what it holds.
                Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
                None => error.source(),
            };
        }
        // The first is the cause of the others.
        let _first = self.0.fault.set(Fault { status, detail });
    }
}

/// Notes the error that ends a request's body, and holds back a body that expects a 100 response.
pub(crate) struct FaultWatch {
    faults: Faults,
    held_back: Option<Pin<Box<Sleep>>>,
}

pub(crate) type Upload<B> = FilteredBody<B, FaultWatch>;

impl<B> Upload<B> {
    pub(crate) const fn new(inner: B, faults: Faults) -> Self {
        Self::by(inner, FaultWatch { faults, held_back: None })
    }

    /// A body that the next hop may refuse before any of it is asked for.
    pub(crate) fn held_back(inner: B, faults: Faults, headers: &HeaderMap) -> Self {
        let waits =
            headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self::by(inner, FaultWatch { faults, held_back: waits.then(|| Box::pin(sleep(HELD_BACK))) })
    }
}

impl BodyFilter for FaultWatch {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(held_back) = &mut self.held_back {
            std::task::ready!(held_back.as_mut().poll(context));
            self.held_back = None;
        }
        Poll::Ready(())
    }

    fn pass(&mut self, polled: Polled, _: &mut Context<'_>) -> Polled {
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.faults.note(error.as_ref());
        }
        polled
    }

    fn finished(&mut self) {
        self.faults.0.whole.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::body_filter::BoxError;
    use crate::inbound::http_builder;
    use crate::refusal::problem;
    use crate::strict::Strict;

    /// The fault that is noted for a body that ends with `error`.
    fn noted(error: impl Into<BoxError>) -> Fault {
        let faults = Faults::default();
        let mut noted = FaultWatch { faults: faults.clone(), held_back: None };
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(noted.pass(Poll::Ready(Some(Err(error.into()))), context).is_ready());
        faults.found().unwrap().clone()
    }

    #[test]
    fn a_broken_body_is_the_senders_fault() {
        let framing = std::io::Error::new(std::io::ErrorKind::InvalidData, Framing::Trailers);
        let trailers = noted(framing);
        assert!(trailers.status == 400 && trailers.detail.contains("trailers"), "{trailers:?}");
        let trailers = noted(Stopped::Trailers);
        assert!(trailers.status == 400 && trailers.detail.contains("trailers"), "{trailers:?}");
        assert_eq!(noted(Stopped::Denied).status, 403);
        assert_eq!(noted(TimedOut(3)).status, 504);
        assert_eq!(noted(std::io::Error::from(std::io::ErrorKind::ConnectionReset)).status, 400);
    }

    #[tokio::test]
    async fn an_expected_body_is_read_later() {
        let body = || Full::new(Bytes::from_static(b"hello"));
        let asked = |body: &mut Upload<Full<Bytes>>| {
            Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        let mut headers = HeaderMap::new();
        assert!(asked(&mut Upload::held_back(body(), Faults::default(), &headers)));
        headers.insert(header::EXPECT, "100-Continue".parse().unwrap());
        let mut waits = Upload::held_back(body(), Faults::default(), &headers);
        assert!(!asked(&mut waits));
        assert_eq!(waits.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    }

    #[tokio::test]
    async fn request_trailers_are_refused() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, server) = tokio::io::duplex(4096);
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let faults = Faults::default();
            let sent = Upload::new(request.into_body(), faults.clone()).collect().await;
            assert!(sent.is_err());
            let Fault { status, detail } = faults.found().unwrap();
            Ok::<_, std::convert::Infallible>(problem(*status, detail, None))
        });
        let strict = hyper_util::rt::TokioIo::new(Strict::new(server, |_: &str| {}));
        let serving = tokio::spawn(async move {
            let _ended = http_builder().serve_connection(strict, service).await;
        });
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.write_all(format!("{head}2\r\nab\r\n0\r\nx: y\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("trailers of a request"), "{answer}");
        drop(client);
        serving.await.unwrap();
    }
}
