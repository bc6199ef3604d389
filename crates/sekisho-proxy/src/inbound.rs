//! Inbound: terminate mTLS, judge each request, forward what is allowed as it was judged.

use std::convert::Infallible;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use sekisho_net::{Acceptor, Slots, accept_each, broken_rule, network_of};
use sekisho_policy::RequestInput;
use sekisho_runtime::{Span, SpanSide, TraceParent, now, random_id, to_hex};
use sekisho_types::{Effect, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::body_filter::{Body, empty};
use crate::config::Protocol;
use crate::guard::{self, DECISION_HEADER, PEER_HEADER};
use crate::hops;
use crate::idle::{Idle, Timed};
use crate::judged::{Judged, StillAllowed, Watched};
use crate::peer_http1;
use crate::poll_on_wake::PollOnWake;
use crate::refusal::{is_grpc, refuse_as};
use crate::renewal::{self, Proven};
use crate::request_body::RequestBody;
use crate::serving::{Inbound, REVOKED, no_longer_valid, withdrawn};
use crate::strict::Strict;
use crate::tcp;
use crate::trace::Trace;
use crate::upload::{Fault, Faults, Upload};
use crate::upstream::UpstreamError;

/// Connections open at this listener; half of them from one address.
const MAX_CONNECTIONS: usize = 16_384;
/// A connection whose first request has not come by then releases its slot.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long open requests may finish once a connection should end.
const DRAIN: Duration = Duration::from_secs(10);

const PEER: HeaderName = HeaderName::from_static(PEER_HEADER);
const DECISION: HeaderName = HeaderName::from_static(DECISION_HEADER);
const TRACE: HeaderName = HeaderName::from_static("traceparent");
/// Characters of a decision's id.
const ID_LENGTH: usize = 36;

/// Who is at the other end of a connection, and whom it asks.
struct Peer {
    /// Its SPIFFE ID, as text and as a header.
    name: Arc<str>,
    header: HeaderValue,
    /// By its last handshake for this connection.
    proven: watch::Receiver<Proven>,
    own_id: SpiffeId,
}

/// How a connection ends that does not end by itself.
enum End {
    AtOnce,
    /// What is open on it may finish.
    Drained,
}

impl Inbound {
    pub(crate) async fn serve(self, listener: TcpListener) {
        let inbound = Arc::new(self);
        let alpn: &[&[u8]] =
            if inbound.protocol == Protocol::Tcp { &[] } else { &[peer_http1::PROTOCOL, b"h2", b"http/1.1"] };
        let acceptor = Acceptor::new(&inbound.identity.tls, true, alpn);
        let acceptor = acceptor.and_then(|acceptor| acceptor.with_protocol(renewal::PROTOCOL));
        let acceptor = match acceptor {
            Ok(acceptor) => acceptor,
            Err(error) => {
                tracing::error!(%error, "no peer is served");
                return;
            }
        };
        let slots = Slots::new(MAX_CONNECTIONS, MAX_CONNECTIONS / 2);
        let token = inbound.stop.token();
        accept_each(&listener, &token, |(stream, address)| {
            let Some(slot) = slots.take(network_of(address.ip())) else {
                inbound.decider.refuse_stranger(&address.to_string(), "too many connections are open");
                return;
            };
            let (inbound, acceptor) = (inbound.clone(), acceptor.clone());
            let stop = inbound.stop.clone();
            stop.spawn(async move {
                inbound.connection(&acceptor, stream).await;
                drop(slot);
            });
        })
        .await;
    }

    async fn connection(self: Arc<Self>, acceptor: &Acceptor, stream: TcpStream) {
        let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        let (stream, peer) = match acceptor.accept(stream, now()).await {
            Ok(accepted) => accepted,
            Err(error) => {
                self.decider.refuse_stranger(&address, &error.to_string());
                return;
            }
        };
        let (Some(leaf), Some(own)) = (peer.leaf, self.identity.held.borrow().clone()) else { return };
        let leaf = Arc::new(leaf.into_inner());
        let (name, peer_ends) = (leaf.spiffe_id.to_string(), leaf.not_after);
        self.revocations.complete().await;
        // A connection lives no longer than the SVIDs on it. A peer may not look at ours.
        let proven = Proven::new(leaf, peer_ends.min(own.not_after));
        if let Some((rule, why)) = no_longer_valid(&self.revocations, &proven) {
            self.decider.refuse(rule, &name, &why);
            return;
        }
        tracing::debug!(peer = name, group = %peer.group, "connection");
        if peer.protocol == renewal::PROTOCOL {
            if let Err(reason) = self.renewals.answer(stream, proven.leaf, &own).await {
                self.decider.refuse("connection", &name, reason);
            }
            return;
        }
        let renewable = self.renewals.open(peer.renewal, own.spiffe_id.clone(), proven);
        if self.protocol == Protocol::Tcp {
            tcp::decide_and_splice(&self, stream, renewable, &own.spiffe_id).await;
            return;
        }
        let proven = renewable.proven.clone();
        let Ok(header) = HeaderValue::from_str(&name) else { return };
        let builder = if peer.protocol == peer_http1::PROTOCOL { sidecars_builder() } else { http_builder() };
        self.requests(builder, stream, Arc::new(Peer { name: name.into(), header, proven, own_id: own.spiffe_id }))
            .await;
    }

    /// Serves the requests of one connection while both ends prove who they are.
    async fn requests(
        self: &Arc<Self>,
        builder: Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Arc<Peer>,
    ) {
        let (decider, refused) = (self.decider.clone(), peer.clone());
        let refuse_framing = move |reason: &str| decider.refuse("request", &refused.name, reason);
        let (inbound, asked) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let (asks, asking) = (asked.clone(), peer.clone());
        let service = service_fn(move |request| {
            asks.store(true, Ordering::Relaxed);
            let (inbound, peer) = (inbound.clone(), asking.clone());
            async move { Ok::<_, Infallible>(inbound.request(request, &peer).await) }
        });
        let stream = TokioIo::new(Strict::new(stream, refuse_framing));
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let mut ends = PollOnWake::new(self.end_of(&peer, &asked));
        tokio::select! {
            biased;
            end = ends.ready() => if matches!(end, End::AtOnce) {
                return;
            },
            ended = connection.as_mut() => {
                if let Some(rule) = ended.err().and_then(|error| broken_rule(error.as_ref())) {
                    self.decider.refuse("connection", &peer.name, &rule);
                }
                return;
            }
        }
        connection.as_mut().graceful_shutdown();
        let leaf = peer.proven.borrow().leaf.clone();
        // What is not finished by then is cut.
        tokio::select! {
            biased;
            () = withdrawn(self.identity.held.clone()) => {}
            why = self.revocations.revoked(&leaf) => self.decider.refuse(REVOKED, &peer.name, &why),
            _finished = tokio::time::timeout(DRAIN, connection) => {}
        }
    }

    /// Returns when a connection should end, whatever is on it.
    async fn end_of(&self, peer: &Peer, asked: &AtomicBool) -> End {
        let mut silent = std::pin::pin!(silent(asked));
        let mut proven = peer.proven.clone();
        loop {
            let Proven { leaf, ends, .. } = proven.borrow_and_update().clone();
            tokio::select! {
                biased;
                // Without an identity the sidecar speaks for no one: nothing is finished.
                () = withdrawn(self.identity.held.clone()) => return End::AtOnce,
                why = self.revocations.revoked(&leaf) => {
                    self.decider.refuse(REVOKED, &peer.name, &why);
                    return End::AtOnce;
                }
                () = self.stop.wait() => return End::Drained,
                () = tokio::time::sleep(renewal::left(ends).unwrap_or_default()) => return End::Drained,
                Ok(()) = proven.changed() => {}
                () = silent.as_mut() => return End::AtOnce,
            }
        }
    }

    /// Answers a request; its span ends with the head of the response.
    async fn request(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let trace = Trace::below(TraceParent::of(request.headers()));
        if !self.traces.are_on() {
            return self.judge(request, peer, trace).await;
        }
        let mut span = Span::of_request(&request, SpanSide::Server);
        // The one that the decision's record names.
        (span.trace, span.id) = (trace.trace_id, trace.span_id);
        span.attributes.push(("sekisho.peer", peer.name.to_string()));
        let response = self.judge(request, peer, trace).await;
        let decision = response.headers().get(DECISION_HEADER).and_then(|id| id.to_str().ok());
        span.attributes.extend(decision.map(|id| ("sekisho.decision", id.to_owned())));
        span.answered(&response);
        self.traces.end(span);
        response
    }

    async fn judge(&self, request: Request<Incoming>, peer: &Peer, trace: Trace) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut body = RequestBody::new(&head, body);
        let answer = self.judge_head(head, &mut body, peer, trace).await;
        body.before(answer).await
    }

    async fn judge_head(
        &self,
        mut parts: Parts,
        body: &mut RequestBody<Incoming>,
        peer: &Peer,
        trace: Trace,
    ) -> Response<Body> {
        let problem = refuse_as(&parts.headers);
        let http2 = parts.version == Version::HTTP_2;
        let plain = match guard::admit(&mut parts) {
            Ok(plain) => plain,
            Err(error) => {
                self.decider.refuse("request", &peer.name, &error.to_string());
                return problem(StatusCode::BAD_REQUEST, &error.to_string(), None);
            }
        };
        // The connection closes when its peer's SVID is revoked; a request may come before that.
        let proven = peer.proven.clone();
        let current = proven.borrow().clone();
        if let Some((rule, why)) = no_longer_valid(&self.revocations, &current) {
            self.decider.refuse(rule, &peer.name, &why);
            return problem(StatusCode::FORBIDDEN, &why, None);
        }
        let request_id = plain.headers.get("x-request-id").cloned().unwrap_or_else(|| to_hex(&random_id::<16>()));
        let input = Arc::new(RequestInput {
            method: parts.method.as_str().to_owned(),
            path: plain.path,
            query: plain.query,
            headers: plain.headers,
            subject: current.subject,
            destination: peer.own_id.clone(),
            request_id,
        });
        let watched = Watched { policy: self.decider.policy().changed.subscribe(), proven };
        let outcome = self.decider.decide(input.clone(), trace).await;
        let id_header = shared_header(outcome.id, ID_LENGTH);
        let id = id_header.to_str().unwrap_or_default();
        if outcome.effect == Effect::Deny {
            return problem(StatusCode::FORBIDDEN, "denied by policy", Some(id));
        }
        set_identity(&mut parts.headers, &peer.header, &id_header, &trace);
        let mut allowed = StillAllowed::new(input, self.decider.clone(), watched);
        let idle = Idle::new(self.body_idle);
        let (body, faults) = upload(body, &idle, &allowed);
        let Some(request) = outgoing(parts, body, self.protocol) else {
            return problem(StatusCode::BAD_REQUEST, "the request's target cannot be formed", Some(id));
        };
        let answer = tokio::select! {
            biased;
            // The service has not answered, and may not any more (law L12).
            () = allowed.denied() => {
                return problem(StatusCode::FORBIDDEN, "the policy in force no longer allows this request", Some(id));
            }
            answer = self.upstream.send(peer.name.clone(), request, &idle) => answer,
            () = idle.over() => {
                return problem(StatusCode::GATEWAY_TIMEOUT, "nothing passed on this request for too long", Some(id));
            }
        };
        match answer {
            Ok(response) => {
                idle.touch();
                let ends_grpc = http2 && is_grpc(response.headers());
                let timed = |body| Judged::response(Timed::new(body, idle), allowed, ends_grpc).boxed();
                let mut response = clean(response.map(timed));
                response.headers_mut().insert(DECISION, id_header);
                response
            }
            Err(error) => self.unanswered(&error, faults.as_ref().and_then(Faults::found), peer, |status, why| {
                problem(status, why, Some(id))
            }),
        }
    }

    /// What the peer reads of a request that has no answer: its own fault comes before the service's.
    fn unanswered(
        &self,
        error: &UpstreamError,
        fault: Option<&Fault>,
        peer: &Peer,
        problem: impl FnOnce(StatusCode, &str) -> Response<Body>,
    ) -> Response<Body> {
        if let Some(Fault { status, detail }) = fault {
            return problem(*status, detail);
        }
        if let UpstreamError::NoPermit(error) = error {
            tracing::info!(peer = &*peer.name, %error, "refused");
            return problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
        }
        tracing::warn!(%error, upstream = %self.upstream.at, "the service did not answer");
        problem(StatusCode::BAD_GATEWAY, "the service behind this sidecar did not answer")
    }
}

/// A request's body on its way to the service, and what tells why it did not come whole.
fn upload(body: &mut RequestBody<Incoming>, idle: &Idle, allowed: &StillAllowed) -> (Body, Option<Faults>) {
    let Some((body, faults)) = body.take() else { return (empty(), None) };
    let body = Judged::request(Timed::new(body, idle.clone()), allowed.clone());
    (Upload::new(body, faults.clone()).boxed(), Some(faults))
}

/// Returns when a connection has asked for nothing in time.
async fn silent(asked: &AtomicBool) {
    tokio::time::sleep(FIRST_REQUEST).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// The request as it was judged, for the service: the same path and query, byte by byte. The guard has checked that the
/// authority, or the `Host` header, is one.
fn outgoing(mut parts: Parts, body: Body, protocol: Protocol) -> Option<Request<Body>> {
    let target = parts.uri.path_and_query().cloned()?;
    if protocol == Protocol::H2c {
        let host = parts.headers.remove(header::HOST);
        let authority = match (parts.uri.authority(), host) {
            (Some(authority), _) => authority.clone(),
            (None, Some(host)) => Authority::try_from(host.as_bytes()).ok()?,
            (None, None) => Authority::from_static(hops::NO_AUTHORITY),
        };
        parts.uri = Uri::builder().scheme("http").authority(authority).path_and_query(target).build().ok()?;
        parts.version = Version::HTTP_2;
    } else {
        hops::set_host(&parts.uri, &mut parts.headers)?;
        parts.uri = target.into();
        parts.version = Version::HTTP_11;
        // HTTP/2 needs no header to announce a body; over HTTP/1.1 one without would be left out (RFC 9112 §6.3).
        if !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH) {
            parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    hops::drop_connection(&mut parts.headers);
    guard::join_cookies(&mut parts.headers);
    Some(Request::from_parts(parts, body))
}

/// An answer without what belongs to the connection that it came on, and without the header that names a caller: no
/// answer has one, and a program may take it for its sidecar's word.
pub(crate) fn clean(mut response: Response<Body>) -> Response<Body> {
    hops::drop_all(response.headers_mut());
    response.headers_mut().remove(PEER);
    *response.version_mut() = http::Version::HTTP_11;
    response
}

/// A value that is letters, digits and hyphens, about as long as this.
fn shared_header(value: impl Display, length: usize) -> HeaderValue {
    let mut text = String::with_capacity(length);
    // Memory does not fail.
    let _written = write!(text, "{value}");
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn set_identity(headers: &mut http::HeaderMap, peer: &HeaderValue, decision: &HeaderValue, trace: &Trace) {
    headers.insert(PEER, peer.clone());
    headers.insert(DECISION, decision.clone());
    headers.insert(TRACE, shared_header(trace.traceparent(), TraceParent::LENGTH));
}

/// For a connection that another sidecar keeps: nothing but HTTP/1.1, and with the fields that a sidecar adds.
/// A head that has begun must come as fast as any other (`Strict`).
fn sidecars_builder() -> Builder<TokioExecutor> {
    let mut builder = http_builder().http1_only();
    builder.http1().header_read_timeout(peer_http1::PEER_IDLE).max_headers(128);
    builder
}

pub(crate) fn http_builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_headers(100)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1024)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}
