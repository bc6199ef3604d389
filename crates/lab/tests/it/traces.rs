//! Traces: spans of a request reach a collector, in the caller's trace and in the right order.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, program, raw};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for spans in request.into_inner().resource_spans {
            let named = spans.resource.unwrap_or_default().attributes.into_iter().find(|a| a.key == "service.name");
            let service = match named.and_then(|attribute| attribute.value?.value) {
                Some(Value::StringValue(name)) => name,
                other => panic!("no service name: {other:?}"),
            };
            let fresh = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(fresh.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| if let Some(Value::StringValue(text)) = value { text } else { String::new() };
    let pairs = span.attributes.iter().cloned();
    pairs.map(|attribute| (attribute.key, text(attribute.value.and_then(|value| value.value)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_through_both_sidecars() {
    let address = || format!("127.0.0.1:{}", free_port());
    let (collector, at) = (Collector::default(), address());
    let served = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    tokio::spawn(served.serve(at.parse().unwrap()));
    let endpoint = format!("http://{at}");
    let environment = [("SEKISHO_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let of_daemons: Vec<_> = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let world = World::with_environment(&[], of_daemons.clone(), of_daemons);
    world.register("/shop/till", &World::own_selectors());
    world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
    let (inbound, service, local) = (address(), address(), address());
    let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
    let [otlp, delay] = environment;
    let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service), otlp, delay]);
    ledger.ready();
    let mut command = Command::new(program("sekisho"));
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--agent-socket"]);
    command.arg(world.agent_socket()).arg("--data").arg(world.path("till")).envs(environment);
    command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
    let till = Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
    till.ready();

    let (trace, parent) = ([0xab; 16], [0xcd; 8]);
    let header = format!("traceparent: 00-{}-{}-01", hex::encode(trace), hex::encode(parent));
    let ask = format!("GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n{header}\r\nconnection: close\r\n\r\n");
    let answer = eventually("an answer", || {
        let answer = raw(&mut std::net::TcpStream::connect(&local).ok()?, &ask);
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    });
    let decision = answer.lines().find_map(|line| line.strip_prefix("x-sekisho-decision: ")).unwrap().to_owned();
    let (client, server) = eventually("both spans of that answer", || {
        let spans = collector.0.lock().unwrap().clone();
        let mine = spans.into_iter().filter(|(service, span)| service == "sekisho-proxy" && span.trace_id == trace);
        let mine: Vec<Span> = mine.map(|(_, span)| span).collect();
        let server = mine.iter().find(|span| attributes(span).get("sekisho.decision") == Some(&decision))?.clone();
        let client = mine.into_iter().find(|span| span.span_id == server.parent_span_id)?;
        Some((client, server))
    });
    assert_eq!((client.parent_span_id.as_slice(), client.name.as_str()), (&parent[..], "GET /v1/balance"));
    assert_eq!(attributes(&client)["sekisho.peer"], format!("spiffe://{TRUST_DOMAIN}/shop/ledger"));
    let said = attributes(&server);
    assert_eq!(said["sekisho.peer"], format!("spiffe://{TRUST_DOMAIN}/shop/till"));
    assert_eq!((said["http.request.method"].as_str(), said["http.response.status_code"].as_str()), ("GET", "200"));
    assert!(client.start_time_unix_nano <= server.start_time_unix_nano && server.end_time_unix_nano > 0);
    // The record of the decision names the same span.
    let why = eventually("the decision is recorded", || {
        let (code, out, _) = world.sekisho(&["why", &decision, "-o", "json"]);
        (code == 0).then_some(out)
    });
    assert!(why.contains(&hex::encode(&server.span_id)) && why.contains(&hex::encode(trace)), "{why}");
    for daemon in ["sekisho-server", "sekisho-agent"] {
        eventually(daemon, || collector.0.lock().unwrap().iter().any(|(service, _)| service == daemon).then_some(()));
    }
}
