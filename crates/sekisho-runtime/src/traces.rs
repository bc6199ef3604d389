//! Spans over OTLP (gRPC) to a collector on this machine. Without one that is named, nothing is made.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request, Response};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};

use sekisho_types::HexDigits;

use crate::{now, random_bytes};

/// Why traces are not sent. The operator who configured the endpoint can fix it.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error(
        "the OTLP endpoint `{0}` is not `http://127.0.0.1:PORT`, or another address of this machine's loopback: spans \
            name peers and paths, and this hop has no TLS. Run a collector here"
    )]
    Endpoint(String),
    #[error("the OTLP exporter: {0}")]
    Exporter(String),
}

/// Which trace something belongs to (W3C Trace Context, level 1): its trace, and the span that stands above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
}

impl std::fmt::Display for TraceParent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{}-{}-01", HexDigits::of(&self.trace).as_str(), HexDigits::of(&self.span).as_str())
    }
}

impl TraceParent {
    /// Characters of a `traceparent` header.
    pub const LENGTH: usize = 55;

    /// Reads a `traceparent` header; `None` for one that is to be ignored (§3.2).
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex::<1>(version).filter(|[version]| *version != 0xff)?;
        hex::<1>(flags)?;
        // Later versions may say more; this one may not.
        if version == [0] && parts.next().is_some() {
            return None;
        }
        let parent = Self { trace: hex(trace)?, span: hex(span)? };
        (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }
}

impl TraceParent {
    /// The one that a request names.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut named = headers.get_all("traceparent").iter();
        let first = named.next()?.to_str().ok()?;
        Self::parse(first).filter(|_| named.next().is_none())
    }
}

fn hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let plain = digits.len() == 2 * N && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    for (to, pair) in out.iter_mut().zip(digits.as_bytes().chunks_exact(2)).filter(|_| plain) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    plain.then_some(out)
}

/// Whether a span was asked of us, or by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanSide {
    Server,
    Client,
}

/// One operation for a caller.
#[derive(Debug)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: Cow<'static, str>,
    pub side: SpanSide,
    pub started: SystemTime,
    /// Names of OpenTelemetry's semantic conventions where there is one.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// The time of day, in OpenTelemetry's form.
fn system_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(now().nanos()).unwrap_or(0))
}

impl Span {
    /// A span that begins now: below `parent`, or in a trace of its own.
    pub fn begin(parent: Option<TraceParent>, name: impl Into<Cow<'static, str>>, side: SpanSide) -> Self {
        Self {
            trace: parent.map_or_else(random_bytes, |parent| parent.trace),
            id: random_bytes(),
            parent: parent.map(|parent| parent.span),
            name: name.into(),
            side,
            started: system_time(),
            attributes: vec![],
            failed: None,
        }
    }
}

impl Span {
    /// A span of a request: of one that came in, or of one that goes out, below the one that its `traceparent` names.
    pub fn of_request<B>(request: &Request<B>, side: SpanSide) -> Self {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let mut span = Self::begin(TraceParent::of(request.headers()), format!("{method} {path}"), side);
        span.attributes = vec![("http.request.method", method), ("url.path", path)];
        span
    }

    /// Adds what was answered; a fault of ours is a failure of the span, one of the caller's is not.
    pub fn answered<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        self.attributes.push(("http.response.status_code", status.as_u16().to_string()));
        let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
        self.attributes.extend(code.map(|code| ("rpc.grpc.status_code", code.to_owned())));
        if status.is_server_error() {
            self.failed = Some(format!("status {status}"));
        }
    }

    /// The `traceparent` header for what is asked of others within this span.
    pub fn traceparent(&self) -> String {
        TraceParent { trace: self.trace, span: self.id }.to_string()
    }
}

/// Where spans go; cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sink>>);

struct Sink {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Traces {
    /// Sends spans of `service` to `endpoint`, if one is given. To be called where the program's runtime runs.
    pub fn to(endpoint: Option<&str>, service: &str) -> Result<Self, TracesError> {
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else { return Ok(Self::default()) };
        // An address and no name: a name may lead elsewhere when it is asked for again.
        let here = |rest: &str| rest.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
        if !endpoint.strip_prefix("http://").is_some_and(|rest| here(rest.trim_end_matches('/'))) {
            return Err(TracesError::Endpoint(endpoint.to_owned()));
        }
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| TracesError::Exporter(error.to_string()))?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&Resource::builder().with_service_name(service.to_owned()).build());
        let scope = InstrumentationScope::builder("sekisho").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self(Some(Arc::new(Sink { processor, scope }))))
    }

    /// Whether spans are worth making.
    pub const fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Answers a request within a span of its own; a stream's ends when it begins.
    pub async fn around<B, C, F: Future<Output = Response<C>>>(
        &self,
        request: Request<B>,
        answer: impl FnOnce(Request<B>) -> F,
    ) -> Response<C> {
        if !self.are_on() {
            return answer(request).await;
        }
        let mut span = Span::of_request(&request, SpanSide::Server);
        let response = answer(request).await;
        span.answered(&response);
        self.end(span);
        response
    }

    /// Ends a span now, and hands it over. What the collector does not take in time is dropped.
    pub fn end(&self, span: Span) {
        let Some(sink) = &self.0 else { return };
        let (trace, id) = (TraceId::from_bytes(span.trace), SpanId::from_bytes(span.id));
        sink.processor.on_end(SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: span.parent.is_some() && span.side == SpanSide::Server,
            span_kind: if span.side == SpanSide::Server { SpanKind::Server } else { SpanKind::Client },
            name: span.name,
            start_time: span.started,
            end_time: system_time(),
            attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: sink.scope.clone(),
        });
    }

    /// Sends what waits. Blocks: not for async threads.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.0.as_ref().map(|sink| sink.processor.force_flush()) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::parse(good).unwrap().span, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert!(TraceParent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(TraceParent::parse(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn law_l13_spans_go_to_this_machine_only() {
        for elsewhere in
            ["http://192.0.2.1:4317", "https://127.0.0.1:4317", "127.0.0.1:4317", "http://", "http://localhost:4317"]
        {
            assert!(matches!(Traces::to(Some(elsewhere), "t"), Err(TracesError::Endpoint(_))), "{elsewhere}");
        }
        assert!(Traces::to(Some("http://127.0.0.1:4317"), "t").unwrap().are_on());
        assert!(!Traces::to(None, "t").unwrap().are_on());
    }
}
