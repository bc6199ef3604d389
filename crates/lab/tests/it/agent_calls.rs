//! What an agent answers its own sidecars and the workloads of this machine.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use sekisho_keys::load;
use sekisho_proto::node::{LendRequest, sidecar_client::SidecarClient};
use sekisho_proto::workload::{
    JwtsvidRequest, ValidateJwtsvidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use sekisho_types::{SignatureAlgorithm, Signer};
use tonic::{Code, Status};

use crate::peers::clock;
use crate::revoked_tokens::token;
use crate::within::{World, eventually};

fn agent(world: &World) -> sekisho_sdk::AgentChannel {
    sekisho_sdk::agent_channel(&world.agent_socket())
}

fn process(pid: u32) -> LendRequest {
    let process = sekisho_host::Process::open(pid.cast_signed()).unwrap();
    LendRequest { workload_pid: process.pid(), workload_start_time: process.start_time(), spiffe_id: String::new() }
}

/// Waits until a refusal that says this stands with the server.
async fn recorded(world: &World, text: &str) {
    eventually(&format!("a record of {text:?}"), async || {
        let listed = world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]).await;
        listed.to_string().contains(text).then_some(())
    })
    .await;
}

/// SPIRE 1.12.3 accepted tokens without `exp`; others took unsigned ones.
#[tokio::test(start_paused = true)]
async fn the_agent_refuses_malformed_tokens_of_valid_keys() {
    let world = World::start().await;
    world.register("/own/test", &World::own_selectors()).await;
    let mut workload = SpiffeWorkloadApiClient::new(agent(&world));
    let request = JwtsvidRequest { audience: vec!["a".into()], spiffe_id: String::new() };
    let good = workload.fetch_jwtsvid(request).await.unwrap().into_inner().svids.remove(0).svid;
    let validate = async |token: String| {
        let mut workload = SpiffeWorkloadApiClient::new(agent(&world));
        let request = ValidateJwtsvidRequest { audience: "a".into(), svid: token };
        workload.validate_jwtsvid(request).await.map(|answer| answer.into_inner().spiffe_id)
    };
    assert_eq!(validate(good.clone()).await.unwrap(), "spiffe://example.org/own/test");
    let parts: Vec<&str> = good.split('.').collect();
    let part =
        |at: usize| -> serde_json::Value { serde_json::from_slice(&BASE64URL.decode(parts[at]).unwrap()).unwrap() };
    let (header, claims) = (part(0), part(1));
    let folder = std::fs::read_dir(world.path("s/keys")).unwrap();
    let key = folder.flatten().map(|item| item.path()).find(|path| path.display().to_string().ends_with(".jwt.key"));
    let key = load(&key.unwrap(), SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let sign = |header: &serde_json::Value, claims: &serde_json::Value| {
        let encode = |value: &serde_json::Value| BASE64URL.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = key.sign(input.as_bytes()).unwrap();
        sekisho_jose::token(&input, &signature).unwrap()
    };
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&header, &claims)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        sign(&header, &claims)
    };
    assert!(validate(sign(&header, &claims)).await.is_ok(), "the same by our own hand");
    let as_alg = |alg: &str| {
        let mut header = header.clone();
        header["alg"] = alg.into();
        sign(&header, &claims)
    };
    let unsigned = format!("{}.{}.", as_alg("none").split('.').take(2).collect::<Vec<_>>().join("."), "");
    for (name, token) in [
        ("alg none", unsigned),
        ("alg HS256", as_alg("HS256")),
        ("alg RS256", as_alg("RS256")),
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no sub", without("sub")),
        ("ended", with("exp", (clock().seconds() - 60).into())),
        ("for ever", with("exp", (clock().seconds() + 1_000_000).into())),
        ("another audience", with("aud", serde_json::json!(["b"]))),
        ("another trust domain", with("sub", "spiffe://other.org/own/test".into())),
        ("no SPIFFE ID", with("sub", "root".into())),
        ("dot segments", with("sub", "spiffe://example.org/own/../test".into())),
    ] {
        let refused = validate(token).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused:?}");
        assert!(refused.metadata().get("sekisho-refusal").is_some(), "{name} is on record");
    }
    recorded(&world, "ValidateJWTSVID").await;
    recorded(&world, "no bundle is held for the token's trust domain").await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_selects_its_sidecars_identity() {
    // This test is the agent's own program, and so acts as a sidecar.
    let world = World::start().await;
    world.register("/own/first", &World::own_selectors()).await;
    world.register("/own/second", &World::own_selectors()).await;
    let ask = async |spiffe_id: &str| {
        let request = LendRequest { spiffe_id: spiffe_id.into(), ..process(std::process::id()) };
        let mut lent = SidecarClient::new(agent(&world)).lend(request).await?.into_inner();
        Ok::<_, tonic::Status>(lent.message().await?.unwrap().spiffe_id)
    };
    let refused = ask("").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("--spiffe-id") && refused.message().contains("/own/second"), "{refused:?}");
    for id in ["spiffe://example.org/own/first", "spiffe://example.org/own/second"] {
        assert_eq!(ask(id).await.unwrap(), id);
    }
    assert_eq!(ask("spiffe://example.org/own/third").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(ask("nonsense").await.unwrap_err().code(), Code::InvalidArgument);
}

async fn validated(world: &World, token: &str) -> Result<String, Status> {
    let mut workload = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let request = ValidateJwtsvidRequest { audience: "a".into(), svid: token.to_owned() };
    Ok(workload.validate_jwtsvid(request).await?.into_inner().spiffe_id)
}

/// A bearer token was good for its five minutes, whatever became of its entry.
#[tokio::test(start_paused = true)]
async fn law_l12_a_token_of_a_deleted_entry_is_refused() {
    let world = World::start().await;
    let entry = world.register("/own/test", &World::own_selectors()).await;
    let old = token(&world.agent_socket(), vec!["a".into()]).await.unwrap();
    assert_eq!(validated(&world, &old).await.unwrap(), "spiffe://example.org/own/test");
    world.text(&["entry", "delete", &entry]).await;
    let refused = eventually("the token is refused", async || validated(&world, &old).await.err()).await;
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let why = format!("the token is revoked: entry `{entry}` was deleted");
    assert!(refused.message().starts_with(&why), "{refused:?}");
    // The same identity by another entry is not concerned.
    world.register("/own/test", &World::own_selectors()).await;
    let new = token(&world.agent_socket(), vec!["a".into()]).await.unwrap();
    assert_eq!(validated(&world, &new).await.unwrap(), "spiffe://example.org/own/test");
    assert!(validated(&world, &old).await.is_err());
}
