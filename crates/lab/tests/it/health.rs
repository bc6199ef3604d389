//! Answers to probes, and selectors that never match.

use tonic::body::Body;
use tonic::codegen::http::{Request, header};
use tower::ServiceExt;

use crate::peers::stranger;
use crate::within::{World, eventually};

async fn status(world: &World, socket: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let answer = world.raw(socket, &request).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Every path answered 200, so that a prober, and a person who mistyped a path, heard that all was well.
#[tokio::test(start_paused = true)]
async fn probes_report_the_state_on_every_port() {
    let world = World::start().await;
    let (server, agent) = ("s/api.sock", "a/agent.sock");
    eventually("ready", async || (status(&world, server, "/readyz").await == "200").then_some(())).await;
    assert_eq!(status(&world, server, "/livez").await, "200");
    let unknown = ["/", "/healthz", "/v1", "/v1/nothing", "/spire.api.server.agent.v1.Agent/Nothing", "/a.b.C/D"];
    for path in unknown {
        assert_eq!(status(&world, server, path).await, "404", "{path} on the operators' socket");
        assert_eq!(status(&world, agent, path).await, "404", "{path} on the agent's socket");
    }
    assert_eq!(status(&world, agent, "/SpiffeWorkloadAPI/FetchX509SVID").await, "404", "which is no gRPC call");
    // Over TLS without a client certificate.
    let channel = stranger(&world);
    let ask = async |path: &str, kind: Option<&str>| {
        let mut request = Request::builder().uri(format!("https://sekisho{path}"));
        if let Some(kind) = kind {
            request = request.method("POST").header(header::CONTENT_TYPE, kind);
        }
        channel.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    assert_eq!(ask("/livez", None).await.status(), 200);
    assert_eq!(ask("/readyz", None).await.status(), 200);
    for path in unknown {
        assert_eq!(ask(path, None).await.status(), 404, "{path} over TLS");
    }
    let answer = ask("/a.b.C/D", Some("application/grpc")).await;
    assert_eq!(answer.headers()["grpc-status"], "12", "a gRPC client hears of it in its own way");
}

/// `unix:uid:root` and the like were stored and never matched.
#[tokio::test(start_paused = true)]
async fn an_unmeasurable_selector_is_refused_everywhere() {
    let world = World::start().await;
    let create = async |selector: &str| {
        let id = "spiffe://example.org/own/typo";
        world
            .sekisho(&[
                "entry",
                "create",
                "--spiffe-id",
                id,
                "--parent-id",
                &world.agent_id,
                "--selector",
                selector,
                "--selector",
                "unix:uid:7",
            ])
            .await
    };
    for (selector, hint) in
        [("unix:sha256:XYZ", "64 lowercase"), ("unix:uid:root", "unix:user:root"), ("unix:pid:1", "it measures uid")]
    {
        let (code, _, said) = create(selector).await;
        assert!(code == 1 && said.contains(hint), "{selector}: {code} {said}");
        let (code, _, said) = world.sekisho(&["why", "identity", "--selectors", selector]).await;
        assert!(code == 3 && said.contains(hint), "{selector}: {code} {said}");
    }
    assert_eq!(world.json(&["entry", "list"]).await.as_array().unwrap().len(), 0);
    // An attestor of another project may measure properties that we do not know.
    assert_eq!(create("mine:anything").await.0, 0);
}
