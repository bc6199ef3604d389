use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Extensions, Method, header};
use futures_util::{StreamExt, stream};
use prost::Message;
use sekisho_events::Event;
use sekisho_identity::{Entry, LeafFacts, Revoked};
use sekisho_proto::server::RecordRequest;
use sekisho_proto::spire::agent::v1::PostStatusRequest;
use sekisho_proto::spire::entry::v1::{
    BatchCreateEntryRequest, CountEntriesRequest, GetAuthorizedEntriesRequest, ListEntriesRequest,
};
use sekisho_runtime::now;
use sekisho_types::{EntryId, SpiffeId};
use tokio::sync::{mpsc, watch};
use tonic::codegen::Service;

use super::LONGEST;
use crate::caller::Operator;
use crate::commands::{BanAgent, DeleteEntry, Revoke, UpdateEntry};
use crate::denied::Denied;
use crate::executor::Call;
use crate::queries::Plan;
use crate::refusal::Fault;
use crate::testbed::{ADMIN, Testbed, over_tls};
use crate::{grpc, rest};

/// Requests whose last byte comes when their caller may not make them any more.
struct Late {
    router: Router,
    caller: Extensions,
    begun: mpsc::UnboundedSender<()>,
    goes_on: watch::Receiver<bool>,
}

impl Late {
    /// The status of HTTP, or gRPC's.
    async fn call(&self, method: Method, path: &str, kind: &str, content: &[u8]) -> (String, u16) {
        let (last, first) = content.split_last().unwrap();
        let (first, last) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(&[*last]));
        let (begun, mut goes_on) = (self.begun.clone(), self.goes_on.clone());
        let last = async move {
            begun.send(()).unwrap();
            goes_on.wait_for(|goes_on| *goes_on).await.unwrap();
            last
        };
        let body = stream::iter([first]).chain(stream::once(last)).map(Ok::<_, Infallible>);
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let mut request = request.body(Body::from_stream(body)).unwrap();
        *request.extensions_mut() = self.caller.clone();
        let answer = self.router.clone().call(request).await.unwrap();
        let of_grpc = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().parse().unwrap());
        (path.to_owned(), of_grpc.unwrap_or(answer.status().as_u16()))
    }

    async fn grpc(&self, method: &str, message: &impl Message) -> (String, u16) {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0], &length[..], &message].concat();
        self.call(Method::POST, &format!("/{method}"), "application/grpc", &frame).await
    }

    async fn rest(&self, method: Method, path: &str, json: &str) -> (String, u16) {
        self.call(method, path, "application/json", json.as_bytes()).await
    }
}

/// Makes `count` requests of the holder of `leaf`; when all wait for their last byte, `end` runs.
async fn late<F>(
    bed: &Testbed,
    leaf: &LeafFacts,
    count: usize,
    requests: F,
    end: impl Future<Output = ()>,
) -> Vec<(String, u16)>
where
    F: AsyncFnOnce(&Late) -> Vec<(String, u16)>,
{
    let (_, health) = tonic_health::server::health_reporter();
    let router = grpc::routes(&bed.domain, health).unwrap();
    let router = router.merge(rest::routes(&bed.domain, &[bed.domain.clone()].into()));
    let ((begun, mut begins), (go_on, goes_on)) = (mpsc::unbounded_channel(), watch::channel(false));
    let late = Late { router, caller: over_tls(Some(leaf.clone())), begun, goes_on };
    let ending = async {
        for _ in 0..count {
            begins.recv().await.unwrap();
        }
        end.await;
        go_on.send(true).unwrap();
    };
    tokio::join!(requests(&late), ending).0
}

/// All that an operator's right can end by.
async fn ends(operator: &Call<Operator>, by: &str, agent: &SpiffeId) {
    let id = EntryId::parse(ADMIN).unwrap();
    match by {
        "the entry is no longer admin" => {
            let change = |old: &Entry| Ok(Entry { admin: false, ..old.clone() });
            operator.execute(UpdateEntry { id, change }).await.map(drop).unwrap();
        }
        "the entry is deleted" => operator.execute(DeleteEntry { id }).await.unwrap(),
        "the agent is banned" => operator.execute(BanAgent { id: agent.clone() }).await.unwrap(),
        _ => {
            let what = Revoked::Serial("ad01".into());
            let plan = Plan { what, until: now().plus_seconds(900), cuts: vec![], then: "", evicts: None, known: true };
            operator.execute(Revoke { plan, reason: String::new() }).await.map(drop).unwrap();
        }
    }
}

#[tokio::test]
async fn law_l6_a_removed_operator_is_refused_during_its_request() {
    for by in ["the entry is no longer admin", "the entry is deleted", "the agent is banned", "the SVID is revoked"] {
        let bed = Testbed::new().await;
        let host = bed.joined("host-a").await;
        let (admin, local) = (bed.admin(&host).await, bed.operator().await);
        let before = bed.recorded().await.len();
        let policy = r#"{"files":[{"name":"a.rego","text":"package workload.authz\n\ndefault allow := false\n"}]}"#;
        let requests = async |late: &Late| {
            let create = BatchCreateEntryRequest { entries: vec![Default::default()], ..Default::default() };
            let list = ListEntriesRequest { page_size: 7, ..Default::default() };
            let count = CountEntriesRequest { filter: Some(Default::default()) };
            let (a, b, c, d, e, f) = tokio::join!(
                late.grpc("spire.api.server.entry.v1.Entry/BatchCreateEntry", &create),
                late.grpc("spire.api.server.entry.v1.Entry/ListEntries", &list),
                late.grpc("spire.api.server.entry.v1.Entry/CountEntries", &count),
                late.rest(Method::POST, "/v1/entries", "{}"),
                late.rest(Method::POST, "/v1/tokens", r#"{"ttl":60}"#),
                late.rest(Method::PUT, "/v1/policy", policy),
            );
            vec![a, b, c, d, e, f]
        };
        let answers = late(&bed, &admin, 6, requests, ends(&local, by, &host.spiffe_id)).await;
        for (path, status) in answers {
            assert!(matches!(status, 7 | 403), "{by}: {path} was answered {status}");
        }
        let refused = bed.refusals().await;
        assert_eq!(refused.len(), 6, "{by}: {refused:?}");
        let others = bed.recorded().await.into_iter().skip(before).filter(|event| !matches!(event, Event::Refused(_)));
        assert_eq!(others.count(), 1, "{by}: only that");
    }
}

#[tokio::test]
async fn law_l6_a_banned_agent_is_refused_during_its_request() {
    let bed = Testbed::new().await;
    let host = bed.joined("host-a").await;
    let local = bed.operator().await;
    let requests = async |late: &Late| {
        let mask = sekisho_proto::types::EntryMask { spiffe_id: true, ..Default::default() };
        let authorized = GetAuthorizedEntriesRequest { output_mask: Some(mask) };
        let record = RecordRequest { batch_key: "s:0".into(), records: vec![b"{}".to_vec().into()], lost: 0 };
        let status = PostStatusRequest { agent_version: "2".into(), ..Default::default() };
        let (a, b, c) = tokio::join!(
            late.grpc("spire.api.server.entry.v1.Entry/GetAuthorizedEntries", &authorized),
            late.grpc("sekisho.server.v1.Node/Record", &record),
            late.grpc("spire.api.server.agent.v1.Agent/PostStatus", &status),
        );
        vec![a, b, c]
    };
    let ban = async { local.execute(BanAgent { id: host.spiffe_id.clone() }).await.unwrap() };
    let answers = late(&bed, &host, 3, requests, ban).await;
    assert!(answers.iter().all(|(_, status)| *status == 7), "{answers:?}");
    let refused = bed.refusals().await;
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|refused| refused.reason.value().unwrap().contains("is banned")), "{refused:?}");
}

/// The first bytes of a call of gRPC: whether a message is compressed, and its length.
fn frame(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// Bytes that are not a message, by what is wrong with them, and the encoding that its header names.
fn unreadable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        ("flag", frame(7, 0, &[]), "identity"),
        ("compressed, and no header says how", frame(1, 0, &[]), "identity"),
        ("compressed", frame(1, 3, &[0; 3]), "gzip"),
        ("shorter than it says", frame(0, 900, &[0; 3]), "identity"),
        ("half a head", vec![0, 0], "identity"),
        ("no message", vec![], "identity"),
        ("no protobuf", frame(0, 3, &[0xff; 3]), "identity"),
    ]
}

#[tokio::test]
async fn law_l5_unreadable_messages_are_on_record() {
    let bed = Testbed::new().await;
    let host = bed.joined("host-a").await;
    let (_, health) = tonic_health::server::health_reporter();
    let router = grpc::routes(&bed.domain, health).unwrap();
    let methods = [
        ("spire.api.server.agent.v1.Agent/PostStatus", Some(&host)),
        ("spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", Some(&host)),
        ("sekisho.server.v1.Node/Watch", Some(&host)),
        ("spire.api.server.agent.v1.Agent/AttestAgent", None),
        ("spire.api.server.bundle.v1.Bundle/GetBundle", None),
    ];
    let mut expected = 0;
    for (method, caller) in methods {
        for (what, body, encoding) in unreadable() {
            let is_unary = method.ends_with("PostStatus") || method.ends_with("GetBundle");
            // A stream that ends at once asks for nothing, but where a first message is a must.
            if body.is_empty() && method.ends_with("/Watch") {
                continue;
            }
            let request = Request::builder().method(Method::POST).uri(format!("/{method}"));
            let request = request.header(header::CONTENT_TYPE, "application/grpc").header("grpc-encoding", encoding);
            let mut request = request.body(Body::from(body)).unwrap();
            *request.extensions_mut() = over_tls(caller.cloned());
            let answer = router.clone().call(request).await.unwrap();
            assert!(!is_unary || answer.headers().contains_key("grpc-status"), "{method}: {what}");
            // A stream is read by a task; the next refusal has a place of its own.
            let body = answer.into_body();
            let read = axum::body::to_bytes(body, LONGEST);
            let _ended = tokio::time::timeout(std::time::Duration::from_millis(100), read).await;
            expected += 1;
            let refused = bed.refusals().await;
            assert_eq!(refused.len(), expected, "{method}: {what}: {:?}", refused.last());
        }
    }
}

#[tokio::test]
async fn law_l9_unreadable_messages_fill_no_log() {
    let bed = Testbed::new().await;
    let (_, health) = tonic_health::server::health_reporter();
    let router = grpc::routes(&bed.domain, health).unwrap();
    for _ in 0..300 {
        let request = Request::builder().method(Method::POST).uri("/spire.api.server.bundle.v1.Bundle/GetBundle");
        let mut request = request.header(header::CONTENT_TYPE, "application/grpc").body(Body::empty()).unwrap();
        *request.extensions_mut() = over_tls(None);
        router.clone().call(request).await.unwrap();
    }
    let (refused, counted) = (bed.refusals().await.len(), bed.domain.limits.refusals.counted.load(Relaxed));
    assert!((50..150).contains(&refused) && refused as u64 + counted == 300, "{refused} leaves, {counted} counted");
}

#[tokio::test]
async fn a_slow_request_is_refused_in_time() {
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let slow = || Body::from_stream(begun.clone().chain(stream::pending()));
    let refused = super::whole(slow(), 9, std::time::Duration::from_millis(20)).await.err().unwrap();
    assert!(matches!(refused, Denied::Slow(_)) && refused.is_caller_fault(), "{refused}");
    assert_eq!(tonic::Status::from(refused).code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn reflection_is_for_operators() {
    let bed = Testbed::new().await;
    let host = bed.joined("host-a").await;
    let role = crate::roles::of_method("grpc.reflection.v1.ServerReflection/ServerReflectionInfo").unwrap();
    for caller in [None, Some(host.clone())] {
        let denied = bed.admitted(&over_tls(caller), role).await.err().unwrap().into_error();
        assert!(matches!(denied, Denied::NoOperator), "{denied}");
    }
    let admin = bed.admin(&host).await;
    assert!(bed.admitted(&over_tls(Some(admin)), role).await.is_ok());
}

#[tokio::test]
async fn a_request_is_taken_up_to_its_limit() {
    let bed = Testbed::new().await;
    let (host, nothing) = (bed.joined("host-a").await, async {});
    let admin = bed.admin(&host).await;
    let requests = async |late: &Late| {
        let long = format!(r#"{{"ttl":60,"agent_id":"{}"}}"#, "a".repeat(LONGEST));
        let name = PostStatusRequest { agent_version: "v".repeat(LONGEST), ..Default::default() };
        let listed = ListEntriesRequest { page_token: "v".repeat(LONGEST), ..Default::default() };
        let (a, b, c, d) = tokio::join!(
            late.rest(Method::POST, "/v1/tokens", &long),
            late.rest(Method::POST, "/v1/tokens", r#"{"ttl":60}"#),
            late.grpc("spire.api.server.entry.v1.Entry/ListEntries", &listed),
            late.grpc("spire.api.server.agent.v1.Agent/PostStatus", &name),
        );
        vec![a, b, c, d]
    };
    let statuses = late(&bed, &admin, 1, requests, nothing).await.into_iter().map(|(_, status)| status);
    // Too long, created, out of range; and an operator is not an agent.
    assert_eq!(statuses.collect::<Vec<_>>(), [413, 201, 11, 7]);
}
