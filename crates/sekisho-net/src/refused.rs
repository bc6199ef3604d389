//! Calls that were refused, as a layer around all services sees them: so that none is left out of the record.

use http::HeaderMap;
use tonic::{Code, Status};

/// Metadata of an answer that needs no record, or no other one.
const ON_RECORD: &str = "sekisho-recorded";
/// Under which id a refusal is on record, for the caller.
const REFUSAL: &str = "sekisho-refusal";

/// How prost and tonic begin to say that bytes are not a message, under codes that are mostly no caller's fault. The
/// server's tests send each of them.
const UNREADABLE: [(Code, &str); 5] = [
    (Code::Internal, "failed to decode Protobuf message"),
    (Code::Internal, "protocol error: received message with"),
    (Code::Internal, "Unexpected EOF decoding stream"),
    (Code::Internal, "Missing request message"),
    (Code::Unimplemented, "Content is compressed with"),
];

/// Whether the same call would be refused again, whatever happens meanwhile.
pub fn is_permanent(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
}

/// An answer that is on record already, or needs no record; under which id, if it has one.
pub fn on_record(mut status: Status, id: Option<&str>) -> Status {
    status.metadata_mut().insert(ON_RECORD, tonic::metadata::MetadataValue::from_static("1"));
    if let Some(id) = id.and_then(|id| id.parse().ok()) {
        status.metadata_mut().insert(REFUSAL, id);
    }
    status
}

/// Whether the caller is at fault, and that is not on record.
pub fn is_unrecorded(status: &Status) -> bool {
    let theirs = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
    );
    let is_unreadable = |(code, says): &(Code, &str)| status.code() == *code && status.message().starts_with(says);
    (theirs || UNREADABLE.iter().any(is_unreadable)) && !status.metadata().contains_key(ON_RECORD)
}

/// What a call was refused with, if that is to be recorded.
pub fn unrecorded_refusal(answer: &HeaderMap) -> Option<Status> {
    Status::from_header_map(answer).filter(is_unrecorded)
}

/// The rule of HTTP that a peer broke, if that is why its connection was closed.
pub fn broken_rule(ended: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut at = Some(ended);
    while let Some(error) = at {
        // Found by our side: what the peer says of us is another thing, and so is that it went.
        let by_h2 = error.downcast_ref::<h2::Error>();
        // A graceful end is not an error.
        let is_theirs = by_h2.is_some_and(|h2| h2.is_library() && h2.reason() != Some(h2::Reason::NO_ERROR))
            || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        if is_theirs {
            return Some(error.to_string());
        }
        at = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_callers_are_recorded() {
        let headers = |status: Status| status.into_http::<()>().headers().clone();
        let denied = Status::permission_denied("because of \u{e9}");
        assert_eq!(unrecorded_refusal(&headers(denied.clone())).unwrap().message(), "because of \u{e9}");
        assert!(unrecorded_refusal(&headers(on_record(denied, Some("ref_1")))).is_none());
        assert!(unrecorded_refusal(&headers(Status::unavailable("later"))).is_none());
        // The connection to the server was lost.
        assert!(unrecorded_refusal(&headers(Status::internal("h2 protocol error: broken pipe"))).is_none());
        assert!(unrecorded_refusal(&HeaderMap::new()).is_none());
    }
}
