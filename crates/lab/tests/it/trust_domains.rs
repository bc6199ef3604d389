//! Two trust domains on one server: each has its agents, identities, policy and log, and one is nothing to the other.
//! Which of them answers a client is tested in `several_domains`.

use sekisho_events::Receipt;
use sekisho_ledger::TrustPolicy;
use sekisho_net::Identity;
use sekisho_proto::spire::entry::v1::{GetAuthorizedEntriesRequest, entry_client::EntryClient};
use sekisho_types::Digest;
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::peers::{attest_at, channel_to};
use crate::within::{Further, Role, TRUST_DOMAIN, World, eventually, holds};
use crate::world::POLICY;

/// The second trust domain.
const OTHER: &str = "b.example";

/// A world whose server has a second trust domain, in the folder `t`, with an agent in `b`.
struct Two {
    world: World,
    other_agent: String,
    _other_agent: Role,
}

impl Two {
    async fn start() -> Self {
        let mut world = World::nowhere();
        world.further = vec![Further { trust_domain: OTHER, data: "t", options: vec![] }];
        world.start_server().await;
        world.start_agent().await;
        let create = ["token", "create", "--file", "./token-b", "-o", "json"];
        let (code, out, err) = world.sekisho_at("t", "b", &create).await;
        assert_eq!(code, 0, "{err}");
        let made: Value = serde_json::from_str(&out).unwrap();
        let other_agent = made["agent_id"].as_str().unwrap().to_owned();
        assert!(other_agent.starts_with("spiffe://b.example/spire/agent/"), "{other_agent}");
        let (token, fingerprint) = (world.path("token-b").display().to_string(), shown(&world, "t").await.to_string());
        let options = ["--join-token-file", &token, "--fingerprint", &fingerprint];
        let agent = world.try_agent_of(OTHER, "b", &options).await.unwrap();
        Self { world, other_agent, _other_agent: agent }
    }

    async fn other_text(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.world.sekisho_at("t", "b", arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    async fn other_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.other_text(&[arguments, &["-o", "json"]].concat()).await).unwrap()
    }

    /// Asks for this trust domain of the server, with this identity or none.
    async fn channel(&self, of: &str, identity: Option<&Identity>) -> Channel {
        let authority = shown(&self.world, if of == OTHER { "t" } else { "s" }).await;
        channel_to(&self.world.address, of, authority, identity)
    }

    /// Registers an identity for this process in the second trust domain, and waits until it has it.
    async fn register_other(&self, path: &str) {
        let id = format!("spiffe://{OTHER}{path}");
        let uid = format!("unix:uid:{}", sekisho_host::own_uid());
        let create = ["entry", "create", "--spiffe-id", &id, "--parent-id", &self.other_agent, "--selector", &uid];
        self.other_text(&create).await;
        eventually("this process has its identity", async || {
            self.world.sekisho_at("t", "b", &["svid", "fetch", "-o", "json"]).await.1.contains(&id).then_some(())
        })
        .await;
    }

    async fn register_own(&self, path: &str) {
        let uid = format!("unix:uid:{}", sekisho_host::own_uid());
        self.world.register(path, &[uid]).await;
    }

    async fn log_says(&self, of: &str, text: &str) {
        let folder = self.world.path(if of == OTHER { "t/ledger" } else { "s/ledger" });
        eventually(text, async || holds(&folder, text.as_bytes()).then_some(())).await;
    }
}

/// The authority of the server with this data folder.
async fn shown(world: &World, server: &str) -> Digest {
    let (_, out, err) = world.sekisho_at(server, "a", &["bundle", "show", "--form", "fingerprint"]).await;
    Digest::parse(out.lines().next().unwrap_or_else(|| panic!("{err}"))).unwrap()
}

fn http(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// What an agent may serve.
async fn entries(server: Channel) -> Result<usize, tonic::Status> {
    let answer = EntryClient::new(server).get_authorized_entries(GetAuthorizedEntriesRequest::default()).await?;
    Ok(answer.into_inner().entries.len())
}

#[tokio::test(start_paused = true)]
async fn law_l6_trust_domains_share_no_entries() {
    let two = Two::start().await;
    two.register_own("/shop/till").await;
    two.register_other("/shop/till").await;
    let (own, other) = (two.world.json(&["entry", "list"]).await, two.other_json(&["entry", "list"]).await);
    assert!(own.to_string().contains("spiffe://example.org/") && !own.to_string().contains(OTHER), "{own}");
    assert!(other.to_string().contains("spiffe://b.example/") && !other.to_string().contains(TRUST_DOMAIN), "{other}");
    let foreign = ["--spiffe-id", "spiffe://b.example/x", "--parent-id", "spiffe://b.example/y"];
    let create = [&["entry", "create", "--selector", "unix:uid:7"], &foreign[..]].concat();
    let (code, _, stated) = two.world.sekisho(&create).await;
    assert!(code != 0 && stated.contains("trust domain"), "{stated}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_belongs_to_one_trust_domain() {
    let two = Two::start().await;
    for (folder, policy) in [("p", POLICY.to_owned()), ("q", POLICY.replace("balance", "limit"))] {
        std::fs::create_dir(two.world.path(folder)).unwrap();
        std::fs::write(two.world.path(folder).join("p.rego"), policy).unwrap();
    }
    two.world.text(&["policy", "apply", "./p"]).await;
    let none = two.world.sekisho_at("t", "b", &["policy", "show"]).await;
    assert!(!none.1.contains("balance"), "{none:?}");
    two.other_text(&["policy", "apply", "./q"]).await;
    let own = two.world.json(&["policy", "show"]).await.to_string();
    let other = two.other_json(&["policy", "show"]).await.to_string();
    assert!(own.contains("balance") && !own.contains("limit"), "{own}");
    assert!(other.contains("limit") && !other.contains("balance"), "{other}");
}

#[tokio::test(start_paused = true)]
async fn a_log_speaks_for_one_trust_domain() {
    let two = Two::start().await;
    two.register_own("/shop/till").await;
    two.register_other("/shop/till").await;
    two.log_says(OTHER, "spiffe://b.example/shop/till").await;
    two.log_says(TRUST_DOMAIN, "spiffe://example.org/shop/till").await;
    assert!(!holds(&two.world.path("s/ledger"), OTHER.as_bytes()));
    assert!(!holds(&two.world.path("t/ledger"), TRUST_DOMAIN.as_bytes()));
    two.other_text(&["prove", "0", "--file", "./proof"]).await;
    let proof = Receipt::parse(&std::fs::read_to_string(two.world.path("proof")).unwrap()).unwrap();
    let trust = |folder: &str| {
        TrustPolicy::parse(&std::fs::read_to_string(two.world.path(folder).join("trust-policy")).unwrap()).unwrap()
    };
    assert!(proof.verify(&trust("t")).is_ok());
    assert!(proof.verify(&trust("s")).is_err());
}

#[tokio::test(start_paused = true)]
async fn metrics_name_one_trust_domain() {
    let two = Two::start().await;
    let metrics = two.world.raw("t/api.sock", &http("/metrics")).await;
    assert!(metrics.contains("sekisho_agents{trust_domain=\"b.example\"} 1"), "{metrics}");
    assert!(!metrics.contains(TRUST_DOMAIN), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn doctor_checks_every_trust_domain() {
    let two = Two::start().await;
    let doctor = two.world.sekisho(&["doctor", "-o", "json"]).await.1;
    let doctor: Value = serde_json::from_str(&doctor).unwrap();
    let of = |name: &str| doctor.as_array().unwrap().iter().filter(|check| check["of"] == name).count();
    assert!(of(TRUST_DOMAIN) > 10 && of(TRUST_DOMAIN) == of(OTHER), "{doctor}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_every_trust_domain() {
    let mut two = Two::start().await;
    two.register_own("/shop/till").await;
    two.register_other("/shop/till").await;
    two.world.stop_server().await;
    two.world.start_server().await;
    let (own, other) = (two.world.text(&["entry", "list"]).await, two.other_text(&["entry", "list"]).await);
    assert!(own.contains("/shop/till") && other.contains("/shop/till"), "{own}{other}");
    two.register_own("/shop/after").await;
    two.register_other("/shop/after").await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_changes_one_trust_domain() {
    let mut two = Two::start().await;
    two.register_own("/shop/till").await;
    two.register_other("/shop/till").await;
    two.world.text(&["backup", "--trust-domain", OTHER, "--data", "./t", "--to", "./copy"]).await;
    two.register_other("/shop/later").await;
    two.world.stop_server().await;
    two.world.text(&["restore", "--trust-domain", OTHER, "--from", "./copy", "--data", "./t"]).await;
    two.world.start_server().await;
    let other = two.other_text(&["entry", "list"]).await;
    assert!(other.contains("/shop/till") && !other.contains("/shop/later"), "{other}");
    assert!(holds(&two.world.path("t/ledger"), b"spiffe://b.example/shop/later"), "a restore keeps the longer log");
    assert!(two.world.text(&["entry", "list"]).await.contains("/shop/till"));
    two.register_other("/shop/after").await;
}

#[tokio::test(start_paused = true)]
async fn law_l4_a_token_counts_in_one_trust_domain() {
    let two = Two::start().await;
    let made = two.world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes();
    let refused = attest_at(two.channel(OTHER, None).await, "join_token", token).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    attest_at(two.channel(TRUST_DOMAIN, None).await, "join_token", token).await.expect("there it is as good as before");
}

#[tokio::test(start_paused = true)]
async fn law_l6_an_svid_counts_in_one_trust_domain() {
    let two = Two::start().await;
    let made = two.world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes();
    let agent = attest_at(two.channel(TRUST_DOMAIN, None).await, "join_token", token).await.unwrap();
    // The connection ends before any request.
    let listed = entries(two.channel(OTHER, Some(&agent)).await).await;
    assert!(listed.is_err(), "{listed:?}");
    let why = "the client's SVID is of trust domain `example.org`, and it connected to `b.example`";
    two.log_says(OTHER, why).await;
    entries(two.channel(TRUST_DOMAIN, Some(&agent)).await).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn law_l6_a_ban_counts_in_one_trust_domain() {
    let two = Two::start().await;
    let other = two.world.sekisho(&["agents", "ban", &two.other_agent]).await;
    assert_ne!(other.0, 0, "{other:?}");
    let made = two.world.json(&["token", "create"]).await;
    let token = made["token"].as_str().unwrap().as_bytes();
    let agent = attest_at(two.channel(TRUST_DOMAIN, None).await, "join_token", token).await.unwrap();
    two.world.text(&["agents", "ban", made["agent_id"].as_str().unwrap()]).await;
    let refused = entries(two.channel(TRUST_DOMAIN, Some(&agent)).await).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let revocations = two.other_json(&["revocation", "list"]).await.to_string();
    assert!(!revocations.contains(TRUST_DOMAIN), "{revocations}");
    two.register_other("/shop/till").await;
}

/// What the gRPC health service says of one service (grpc.health.v1).
async fn serving(channel: &Channel, service: &str) -> bool {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Check {
        #[prost(string, tag = "1")]
        service: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Checked {
        #[prost(int32, tag = "1")]
        status: i32,
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<Check, Checked>::default();
    let asked = tonic::Request::new(Check { service: service.to_owned() });
    client.unary(asked, path, codec).await.unwrap().into_inner().status == 1
}

#[tokio::test(start_paused = true)]
async fn readiness_names_a_failing_trust_domain() {
    let two = Two::start().await;
    let ready = async |socket: &str| two.world.raw(socket, &http("/readyz")).await;
    eventually("it is ready", async || ready("s/api.sock").await.contains("200 OK").then_some(())).await;
    std::fs::rename(two.world.path("t"), two.world.path("away")).unwrap();
    let fails = async || Some(ready("s/api.sock").await).filter(|stated| stated.contains("503"));
    let stated = eventually("it is not ready", fails).await;
    assert!(stated.contains("[\"b.example: disk\"]"), "{stated}");
    assert!(ready("t/api.sock").await.contains("[\"disk\"]"));
    let channel = two.channel(TRUST_DOMAIN, None).await;
    for (service, serves) in [("", false), (OTHER, false), (TRUST_DOMAIN, true)] {
        assert_eq!(serving(&channel, service).await, serves, "{service}");
    }
    std::fs::rename(two.world.path("away"), two.world.path("t")).unwrap();
    eventually("it is ready again", async || ready("s/api.sock").await.contains("200 OK").then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_names_a_failing_trust_domain() {
    let mut world = World::nowhere();
    let options = vec!["--policy-folder".into(), world.path("nowhere").display().to_string()];
    world.further = vec![Further { trust_domain: OTHER, data: "t", options }];
    let stated = world.try_server().await.err().unwrap();
    assert!(stated.contains("trust domain `b.example`: --policy-folder"), "{stated}");
}
