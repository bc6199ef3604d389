//! What a caller reads of a refusal: a problem (RFC 9457), or a status if it calls by gRPC.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use crate::body_filter::Body;
use crate::guard::DECISION_HEADER;

/// PERMISSION_DENIED.
pub(crate) const GRPC_DENIED: &str = "7";

pub(crate) type Refuse = fn(StatusCode, &str, Option<&str>) -> Response<Body>;

/// How the sender of a request with these headers is refused.
pub(crate) fn refuse_as(headers: &HeaderMap) -> Refuse {
    if is_grpc(headers) { grpc_problem } else { problem }
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

pub(crate) fn problem(status: StatusCode, detail: &str, decision: Option<&str>) -> Response<Body> {
    let body = serde_json::json!({"status": status.as_u16(), "detail": detail, "decision": decision});
    let mut response = answer(Bytes::from(body.to_string()), "application/problem+json", decision);
    *response.status_mut() = status;
    response
}

/// The same for a gRPC caller: a response of trailers only (gRPC over HTTP/2, "Responses").
fn grpc_problem(status: StatusCode, detail: &str, decision: Option<&str>) -> Response<Body> {
    let code = match status {
        StatusCode::FORBIDDEN => GRPC_DENIED,
        StatusCode::BAD_REQUEST => "3",
        StatusCode::GATEWAY_TIMEOUT => "4",
        // RESOURCE_EXHAUSTED: too much at once, and nothing of it was done.
        StatusCode::SERVICE_UNAVAILABLE => "8",
        _ => "14",
    };
    let mut response = answer(Bytes::new(), "application/grpc", decision);
    response.headers_mut().extend(grpc_status(code, detail));
    response
}

fn answer(body: Bytes, kind: &'static str, decision: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed());
    insert(response.headers_mut(), "content-type", kind);
    if let Some(id) = decision {
        insert(response.headers_mut(), DECISION_HEADER, id);
    }
    response
}

/// The fields that hold the result of a gRPC call.
pub(crate) fn grpc_status(code: &'static str, detail: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from_static(code));
    insert(&mut fields, "grpc-message", &percent_encoded(detail));
    fields
}

/// As `grpc-message` is written (gRPC over HTTP/2, "Percent-Encoded").
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'%' => "%25".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

pub(crate) fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_callers_get_a_grpc_status() {
        let mut headers = HeaderMap::new();
        let refused = refuse_as(&headers)(StatusCode::BAD_REQUEST, "no", None);
        assert_eq!(refused.status(), 400);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let refused = refuse_as(&headers)(StatusCode::BAD_REQUEST, "100 % of it\u{e9}", Some("dec_1"));
        let field = |name| refused.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!((refused.status().as_u16(), field("grpc-status")), (200, "3"));
        assert_eq!((field("grpc-message"), field(DECISION_HEADER)), ("100 %25 of it%C3%A9", "dec_1"));
        assert_eq!(field("content-type"), "application/grpc");
    }
}
