//! Two trust domains on one server: each has its agents, identities, policy and log, and one is nothing to the other.

use std::path::PathBuf;
use std::process::Command;

use sekisho_events::Receipt;
use sekisho_ledger::TrustPolicy;
use sekisho_net::Identity;
use sekisho_proto::spire::entry::v1::{GetAuthorizedEntriesRequest, entry_client::EntryClient};
use sekisho_types::Digest;
use serde_json::Value;
use tonic::transport::Channel;

use crate::peers::{attest_at, channel_to, stranger};
use crate::world::{POLICY, Role, TRUST_DOMAIN, World, eventually, program, raw, unix};

/// The second trust domain.
const OTHER: &str = "b.example";
const ANOTHER_NAME: &str = "sekisho.b.example";

/// A world whose server has a second trust domain, in the folder `t`.
struct Two {
    other_agent: Option<Role>,
    world: World,
}

impl Two {
    fn start() -> Self {
        let mut world = World::nowhere();
        for (folder, policy) in [("policy", POLICY.to_owned()), ("policy-b", POLICY.replace("balance", "limit"))] {
            std::fs::create_dir(world.path(folder)).unwrap();
            std::fs::write(world.path(folder).join("p.rego"), policy).unwrap();
        }
        let path = |name: &str| world.path(name).display().to_string();
        let (data, policy) = (path("t"), path("policy-b"));
        let file = format!(
            "publish-log = true\n\n[[domain]]\ntrust-domain = '{OTHER}'\ndata = '{data}'\npolicy-folder = '{policy}'\n\
             publish-log = true\nserver-name = '{ANOTHER_NAME}'\nx509-ttl = '600s'\n"
        );
        std::fs::write(world.path("server.toml"), file).unwrap();
        world.server_options = vec!["--config".into(), path("server.toml")];
        world.start_server();
        world.start_agent();
        let mut two = Self { world, other_agent: None };
        let made = two.other_json(&["token", "create", "--file", "token-b"]);
        assert!(made["agent_id"].as_str().unwrap().starts_with("spiffe://b.example/spire/agent/"), "{made}");
        two.other_agent = Some(Role::start(&mut two.agent("b", "token-b")));
        two.other_agent.as_ref().unwrap().ready();
        two
    }

    /// The command line against the second trust domain.
    fn other(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = |name: &str| self.world.path(name).display().to_string();
        let output = Command::new(program("sekisho"))
            .args(arguments)
            .env("SEKISHO_SERVER_SOCKET", socket("t/api.sock"))
            .env("SEKISHO_AGENT_SOCKET", socket("b/agent.sock"))
            .current_dir(self.world.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn other_text(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.other(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    fn other_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.other_text(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// An agent of the second trust domain.
    fn agent(&self, data: &str, token: &str) -> Command {
        let mut command = Command::new(program("sekisho"));
        command.args(["agent", "--trust-domain", OTHER, "--log", "warn", "--server", &self.world.address]);
        command.arg("--data").arg(self.world.path(data)).arg("--join-token-file").arg(self.world.path(token));
        command.args(["--fingerprint", &self.fingerprint(OTHER).to_string()]);
        command
    }

    fn fingerprint(&self, of: &str) -> Digest {
        let show = ["bundle", "show", "--form", "fingerprint"];
        let shown = if of == OTHER { self.other_text(&show) } else { self.world.text(&show) };
        Digest::parse(shown.lines().next().unwrap()).unwrap()
    }

    /// Asks for this trust domain of the server, with this identity or none.
    fn channel(&self, of: &str, identity: Option<&Identity>) -> Channel {
        channel_to(&self.world.address, of, self.fingerprint(of), identity)
    }

    /// Registers an identity for processes of this user in the second trust domain, and waits until one has it.
    fn register_other(&self, path: &str) {
        let agents = self.other_json(&["agents", "list"]);
        let agent = agents[0]["id"].as_str().unwrap();
        let id = format!("spiffe://{OTHER}{path}");
        let uid = format!("unix:uid:{}", sekisho_host::own_uid());
        self.other_text(&["entry", "create", "--spiffe-id", &id, "--parent-id", agent, "--selector", &uid]);
        eventually("a process of the second trust domain has its identity", || {
            self.other(&["svid", "fetch", "-o", "json"]).1.contains(&id).then_some(())
        });
    }

    fn register_own(&self, path: &str) {
        let uid = format!("unix:uid:{}", sekisho_host::own_uid());
        self.world.register(path, &[uid]);
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        eventually("a process has its identity", || {
            self.world.sekisho(&["svid", "fetch", "-o", "json"]).1.contains(&id).then_some(())
        });
    }

    fn log_folder(&self, of: &str) -> PathBuf {
        self.world.path(if of == OTHER { "t/ledger" } else { "s/ledger" })
    }

    fn log_has(&self, of: &str, text: &str) -> bool {
        Command::new("grep").args(["-rqaF", text]).arg(self.log_folder(of)).status().unwrap().success()
    }
}

/// What `openssl s_client` with these options makes of the server: all that it printed.
fn openssl(two: &Two, options: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &two.world.address, "-quiet", "-ign_eof"]).args(options);
    let piped = std::process::Stdio::piped;
    let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn http(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[test]
fn trust_domains_of_one_server_survive_a_restart() {
    let mut two = Two::start();
    two.register_own("/shop/till");
    two.register_other("/shop/till");
    let (own, other) = (two.world.json(&["entry", "list"]), two.other_json(&["entry", "list"]));
    assert!(own.to_string().contains("spiffe://example.org/") && !own.to_string().contains(OTHER), "{own}");
    assert!(other.to_string().contains("spiffe://b.example/") && !other.to_string().contains(TRUST_DOMAIN), "{other}");
    let (code, _, said) = two.world.sekisho(&[
        "entry",
        "create",
        "--spiffe-id",
        "spiffe://b.example/x",
        "--parent-id",
        "spiffe://b.example/y",
        "--selector",
        "unix:uid:7",
    ]);
    assert!(code != 0 && said.contains("trust domain"), "{said}");

    // Policies and their revisions.
    let policy = |shown: Value| shown.to_string();
    let (own, other) = (policy(two.world.json(&["policy", "show"])), policy(two.other_json(&["policy", "show"])));
    assert!(own.contains("balance") && !own.contains("limit") && other.contains("limit"), "{own} {other}");

    // Logs: origins, leaves, and what proves.
    let trust = |folder: &str| {
        TrustPolicy::parse(&std::fs::read_to_string(two.world.path(&format!("{folder}/trust-policy"))).unwrap())
            .unwrap()
    };
    two.other_text(&["prove", "0", "--file", "proof"]);
    let proof = std::fs::read_to_string(two.world.path("proof")).unwrap();
    let proof = Receipt::parse(&proof).unwrap();
    assert!(proof.verify(&trust("t")).is_ok());
    assert!(proof.verify(&trust("s")).is_err(), "a log of one trust domain speaks for no other");
    assert!(two.log_has(OTHER, "spiffe://b.example/shop/till") && !two.log_has(TRUST_DOMAIN, OTHER));
    assert!(!two.log_has(OTHER, "spiffe://example.org/shop/till"));

    // Operators see what they watch under its name.
    let metrics = raw(&mut unix(&two.world.path("t/api.sock")), &http("/metrics", "localhost"));
    assert!(
        metrics.contains("sekisho_agents{trust_domain=\"b.example\"} 1") && !metrics.contains(TRUST_DOMAIN),
        "{metrics}"
    );
    let doctor: Value = serde_json::from_str(&two.world.sekisho(&["doctor", "-o", "json"]).1).unwrap();
    let of = |name: &str| doctor.as_array().unwrap().iter().filter(|check| check["of"] == name).count();
    assert!(of(TRUST_DOMAIN) > 10 && of(TRUST_DOMAIN) == of(OTHER), "{doctor}");

    // A restart keeps both, and a copy of one comes back without the other.
    two.other_text(&["backup", "--trust-domain", OTHER, "--data", "t", "--to", "copy"]);
    two.register_other("/shop/later");
    drop(two.world.server.take());
    let (own_size, restore) =
        (two.world.all_leaves().len(), ["restore", "--trust-domain", OTHER, "--from", "copy", "--data", "t"]);
    two.other_text(&restore);
    two.world.start_server();
    let other = two.other_json(&["entry", "list"]).to_string();
    assert!(other.contains("/shop/till") && !other.contains("/shop/later"), "{other}");
    assert!(two.log_has(OTHER, "spiffe://b.example/shop/later"), "a restore keeps the longer log");
    two.register_own("/shop/after");
    two.register_other("/shop/after");
    assert!(two.world.all_leaves().len() > own_size);
}

/// Also laws L4 and L6 across trust domains.
#[tokio::test(flavor = "multi_thread")]
async fn law_l6_credentials_are_bound_to_one_trust_domain() {
    let two = Two::start();
    // A token of one, where the other is asked.
    let made = two.world.json(&["token", "create"]);
    let token = made["token"].as_str().unwrap().as_bytes();
    let refused = attest_at(two.channel(OTHER, None), "join_token", token).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    let agent =
        attest_at(two.channel(TRUST_DOMAIN, None), "join_token", token).await.expect("there it is as good as before");

    // An agent's SVID of one, where the other is asked: the connection ends before any request.
    let listed = entries(two.channel(OTHER, Some(&agent))).await;
    assert!(listed.is_err(), "{listed:?}");
    eventually("the log of the one that was asked says why", || {
        two.log_has(OTHER, "the client's SVID is of trust domain `example.org`, and it connected to `b.example`")
            .then_some(())
    });
    entries(two.channel(TRUST_DOMAIN, Some(&agent))).await.unwrap();

    // An operator of one, on its own socket: the other's agents do not exist.
    let banned = two.world.sekisho(&["agents", "ban", two.other_json(&["agents", "list"])[0]["id"].as_str().unwrap()]);
    assert_ne!(banned.0, 0, "{banned:?}");

    // A ban in one ends nothing in the other.
    two.world.text(&["agents", "ban", made["agent_id"].as_str().unwrap()]);
    assert_eq!(
        entries(two.channel(TRUST_DOMAIN, Some(&agent))).await.err().unwrap().code(),
        tonic::Code::PermissionDenied
    );
    let revocations = two.other_json(&["revocation", "list"]).to_string();
    assert!(!revocations.contains(TRUST_DOMAIN), "{revocations}");
    two.register_other("/shop/till");
}

/// What an agent may serve.
async fn entries(server: Channel) -> Result<usize, tonic::Status> {
    let answer = EntryClient::new(server).get_authorized_entries(GetAuthorizedEntriesRequest::default()).await?;
    Ok(answer.into_inner().entries.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tls_server_name_selects_the_domain() {
    let two = Two::start();
    let origin = |options: &[&str], host: &str| {
        let said = openssl(&two, options, &http("/checkpoint", host));
        let line = said.lines().find(|line| line.contains("/sekisho/")).map(str::to_owned);
        line.and_then(|line| line.split('/').next().map(str::to_owned)).unwrap_or(said)
    };
    for (options, host, chosen) in [
        (&["-servername", OTHER][..], "localhost", OTHER),
        (&["-servername", "B.Example"], TRUST_DOMAIN, OTHER),
        (&["-servername", ANOTHER_NAME], TRUST_DOMAIN, OTHER),
        (&["-servername", TRUST_DOMAIN], OTHER, TRUST_DOMAIN),
        (&["-servername", "other.example"], OTHER, TRUST_DOMAIN),
        (&["-noservername"], OTHER, TRUST_DOMAIN),
    ] {
        assert_eq!(origin(options, host), chosen, "{options:?}");
    }
    // Each shows a certificate of its own, and refuses to resume what another began (law L10).
    let session = two.world.path("session").display().to_string();
    let kept = openssl(&two, &["-servername", OTHER, "-sess_out", &session], &http("/livez", "localhost"));
    assert!(kept.contains("200 OK") && !two.world.path("session").exists(), "a session was handed out: {kept}");

    // Without a name the first trust domain answers, and says in its log what the client lacks.
    let made = two.other_json(&["token", "create"]);
    let token = made["token"].as_str().unwrap().as_bytes();
    let agent = attest_at(two.channel(OTHER, None), "join_token", token).await.unwrap();
    std::fs::write(two.world.path("leaf.der"), &agent.chain[0]).unwrap();
    std::fs::write(two.world.path("key.der"), agent.key.expose()).unwrap();
    let (leaf, key) =
        (two.world.path("leaf.der").display().to_string(), two.world.path("key.der").display().to_string());
    let shown = ["-cert", &leaf, "-certform", "DER", "-key", &key, "-keyform", "DER"];
    let with = |name: &[&str]| openssl(&two, &[name, &shown].concat(), &http("/livez", "localhost"));
    let said = with(&["-noservername"]);
    assert!(!said.contains("200 OK"), "{said}");
    eventually("the log says what to do", || {
        two.log_has(TRUST_DOMAIN, "it reaches its own by the TLS server name (SNI) `b.example`").then_some(())
    });
    let said = with(&["-servername", OTHER]);
    assert!(said.contains("200 OK"), "{said}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_trust_domain_is_named_everywhere() {
    let two = Two::start();
    let ready = |socket: &str| raw(&mut unix(&two.world.path(socket)), &http("/readyz", "localhost"));
    eventually("it is ready", || ready("s/api.sock").contains("200 OK").then_some(()));
    std::fs::rename(two.world.path("t"), two.world.path("away")).unwrap();
    let said = eventually("it says that it is not", || Some(ready("s/api.sock")).filter(|said| said.contains("503")));
    assert!(said.contains("[\"b.example: disk\"]"), "{said}");
    assert!(ready("away/api.sock").contains("[\"disk\"]"));
    let channel = stranger(&two.world);
    for (service, serves) in [("", false), (OTHER, false), (TRUST_DOMAIN, true)] {
        assert_eq!(serving(&channel, service).await, serves, "{service}");
    }
    std::fs::rename(two.world.path("away"), two.world.path("t")).unwrap();
    eventually("it is ready again", || ready("s/api.sock").contains("200 OK").then_some(()));

    // One that cannot be opened keeps the server from starting, with its name.
    let config = two.world.path("server.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("policy-b", "nowhere").replace("/t'", "/u'");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program("sekisho"));
    command.args(["server", "--trust-domain", "c.example", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
    let output = command.arg("--data").arg(two.world.path("c")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("trust domain `b.example`: --policy-folder"), "{said}");
}
