//! Bodies that stop when the policy no longer allows them (law L12).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http_body::Frame;
use sekisho_policy::RequestInput;
use tokio::sync::watch;

use crate::body_filter::{BodyFilter, FilteredBody, Polled};
use crate::decisions::Decider;
use crate::refusal::{GRPC_DENIED, grpc_status};
use crate::renewal::Proven;
use crate::trace::Trace;

type Change = Pin<Box<dyn Future<Output = Option<Watched>> + Send + Sync>>;

/// What an allowed request depends on; subscribed before the decision, so that no change falls between.
#[derive(Clone)]
pub(crate) struct Watched {
    pub policy: watch::Receiver<u64>,
    /// What the peer's last handshake for the connection proved.
    pub proven: watch::Receiver<Proven>,
}

impl Watched {
    fn has_changed(&self) -> bool {
        self.policy.has_changed().unwrap_or(true) || self.proven.has_changed().unwrap_or(false)
    }

    /// Waits for a change; false if there can be none any more.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            biased;
            changed = self.policy.changed() => changed.is_ok(),
            // A closed connection proves nothing new.
            Ok(()) = self.proven.changed() => true,
        }
    }
}

/// A request that was allowed, and how to ask whether it still is.
pub(crate) struct StillAllowed {
    input: Arc<RequestInput>,
    decider: Arc<Decider>,
    watched: Watched,
    /// Wakes a body that waits; made once one does.
    waiting: Option<Change>,
    /// Whether it was cut, which is recorded once for the two bodies of one request.
    cut: Arc<AtomicBool>,
}

impl Clone for StillAllowed {
    fn clone(&self) -> Self {
        let (input, decider, watched) = (self.input.clone(), self.decider.clone(), self.watched.clone());
        Self { input, decider, watched, waiting: None, cut: self.cut.clone() }
    }
}

impl StillAllowed {
    pub(crate) fn new(input: Arc<RequestInput>, decider: Arc<Decider>, watched: Watched) -> Self {
        Self { input, decider, watched, waiting: None, cut: Arc::default() }
    }

    /// Returns when the policy no longer allows the request.
    pub(crate) async fn denied(&mut self) {
        while self.watched.changed().await {
            if !self.judge_again() {
                return;
            }
        }
    }

    fn check(&mut self) -> bool {
        !self.watched.has_changed() || self.judge_again()
    }

    /// The same for a body that has nothing to pass: ready once it is denied.
    fn poll_denied(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let watched = &self.watched;
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut watched = watched.clone();
                Box::pin(async move { watched.changed().await.then_some(watched) })
            });
            let changed = std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            match changed {
                Some(watched) => self.watched = watched,
                None => return Poll::Ready(()),
            }
            if !self.judge_again() {
                return Poll::Ready(());
            }
        }
    }

    /// With what the peer's newest SVID claims, which may be less. A request that is cut is recorded as a decision of
    /// its own.
    fn judge_again(&mut self) -> bool {
        self.watched.policy.mark_unchanged();
        let subject = self.watched.proven.borrow_and_update().subject.clone();
        if !Arc::ptr_eq(&subject, &self.input.subject) {
            self.input = Arc::new(RequestInput { subject, ..(*self.input).clone() });
        }
        let allowed = self.decider.still_allowed(&self.input);
        if !allowed && !self.cut.swap(true, Ordering::Relaxed) {
            let (decider, input) = (self.decider.clone(), self.input.clone());
            tokio::spawn(async move {
                let cut = decider.decide(input, Trace::below(None)).await;
                tracing::debug!(decision = %cut.id, "an open request was cut");
            });
        }
        allowed
    }
}

/// Why the sidecar stops a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the policy in force no longer allows this request")]
    Denied,
    #[error("trailers of a request do not pass, since no policy has judged them; send the same fields as headers")]
    Trailers,
}

/// What lets a body pass, and stay open, under the policy in force at that moment only.
pub(crate) struct Judge {
    allowed: StillAllowed,
    kind: BodyKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    /// Its trailers could set headers that the guard refuses.
    Request,
    Response,
    /// Its trailers hold the result of the call.
    GrpcResponse,
}

pub(crate) type Judged<B> = FilteredBody<B, Judge>;

impl<B> Judged<B> {
    pub(crate) const fn request(inner: B, allowed: StillAllowed) -> Self {
        Self::by(inner, Judge { allowed, kind: BodyKind::Request })
    }

    /// `is_grpc` if the caller reads a status from the trailers.
    pub(crate) const fn response(inner: B, allowed: StillAllowed, is_grpc: bool) -> Self {
        Self::by(inner, Judge { allowed, kind: if is_grpc { BodyKind::GrpcResponse } else { BodyKind::Response } })
    }
}

impl Judge {
    /// The end of a body that is denied. A gRPC call ends with a status (gRPC over HTTP/2, "Responses"); any other body
    /// must not look as if it were whole.
    fn cut(&self) -> Polled {
        let denied = Stopped::Denied;
        Poll::Ready(Some(match self.kind {
            BodyKind::GrpcResponse => Ok(Frame::trailers(grpc_status(GRPC_DENIED, &denied.to_string()))),
            _ => Err(denied.into()),
        }))
    }
}

impl BodyFilter for Judge {
    fn pass(&mut self, polled: Polled, context: &mut Context<'_>) -> Polled {
        let frame = match polled {
            Poll::Ready(Some(Ok(frame))) => frame,
            // The service ends a call whose request was cut a moment ago.
            Poll::Ready(Some(Err(_))) if self.allowed.cut.load(Ordering::Relaxed) => return self.cut(),
            Poll::Ready(_) => return polled,
            Poll::Pending => {
                std::task::ready!(self.allowed.poll_denied(context));
                return self.cut();
            }
        };
        if frame.is_trailers() && self.kind == BodyKind::Request {
            let peer = self.allowed.input.subject.spiffe_id.to_string();
            self.allowed.decider.refuse("request", &peer, &Stopped::Trailers.to_string());
            return Poll::Ready(Some(Err(Stopped::Trailers.into())));
        }
        if self.allowed.check() { Poll::Ready(Some(Ok(frame))) } else { self.cut() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use sekisho_disk::Spool;
    use sekisho_identity::LeafFacts;
    use sekisho_types::{Claims, SpiffeId, UnixTime};

    use super::*;
    use crate::policy::PolicyKeeper;

    fn proven(issued_at: i64) -> Proven {
        let leaf = LeafFacts {
            spiffe_id: SpiffeId::parse("spiffe://example.org/till").unwrap(),
            not_before: UnixTime::from_millis(issued_at),
            not_after: UnixTime::from_millis(i64::MAX / 1_000_000),
            serial: "1".into(),
            claims: Claims::default(),
            public_key: vec![],
            issuance: None,
        };
        let ends = leaf.not_after;
        Proven::new(Arc::new(leaf), ends)
    }

    /// What a caller reads of an answer whose SVID is proven anew under a policy that no longer allows it.
    async fn cut(is_grpc: bool) -> Result<Frame<Bytes>, String> {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Arc::new(PolicyKeeper::open(folder.path().join("policy.json")));
        let spool = Spool::open(&folder.path().join("spool"), 1_000_000, "s").unwrap();
        let (_held, held) = watch::channel(None);
        let (decider, writer) = Decider::new(keeper, spool, held);
        let decider = Arc::new(decider);
        tokio::spawn(writer.run());
        let (renewed, proven_rx) = watch::channel(proven(1000));
        let Proven { leaf, subject, .. } = proven(1000);
        let input = Arc::new(RequestInput {
            method: "POST".into(),
            path: vec![],
            query: String::new(),
            headers: std::collections::BTreeMap::new(),
            subject,
            destination: leaf.spiffe_id.clone(),
            request_id: "1".into(),
        });
        let watched = Watched { policy: decider.policy().changed.subscribe(), proven: proven_rx };
        let allowed = StillAllowed::new(input, decider, watched);
        let mut body = Judged::response(Full::new(Bytes::from_static(b"part")), allowed, is_grpc);
        // Without a policy in force nothing is allowed.
        renewed.send_replace(proven(2000));
        let frame = body.frame().await.unwrap().map_err(|error| error.to_string());
        assert_eq!(body.with().allowed.input.subject.issued_at, UnixTime::from_millis(2000));
        frame
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn law_l12_a_stopped_call_ends_with_a_status() {
        let trailers = cut(true).await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers.get("grpc-status").unwrap(), GRPC_DENIED);
        assert!(trailers.get("grpc-message").unwrap().to_str().unwrap().contains("no longer allows"));
        assert!(cut(false).await.unwrap_err().contains("no longer allows"));
    }
}
