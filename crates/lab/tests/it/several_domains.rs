//! Two trust domains on one server, by its configuration file: which of them answers a client. What one is to the other
//! is tested in `trust_domains`.

use std::path::PathBuf;
use std::process::Command;

use sekisho_types::Digest;
use serde_json::Value;
use tonic::transport::Channel;

use crate::peers::{attest_at, channel_to};
use crate::world::{POLICY, TRUST_DOMAIN, World, eventually, program};

/// The second trust domain.
const OTHER: &str = "b.example";
const ANOTHER_NAME: &str = "sekisho.b.example";

/// A world whose server has a second trust domain, in the folder `t`.
struct Two {
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
        Self { world }
    }

    /// The command line against the second trust domain.
    fn other(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = |name: &str| self.world.path(name).display().to_string();
        let output = Command::new(program("sekisho"))
            .args(arguments)
            .env("SEKISHO_SERVER_SOCKET", socket("t/api.sock"))
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

    fn fingerprint(&self, of: &str) -> Digest {
        let show = ["bundle", "show", "--form", "fingerprint"];
        let shown = if of == OTHER { self.other_text(&show) } else { self.world.text(&show) };
        Digest::parse(shown.lines().next().unwrap()).unwrap()
    }

    /// Asks for this trust domain of the server.
    fn channel(&self, of: &str) -> Channel {
        channel_to(&self.world.address, of, self.fingerprint(of), None)
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
fn each_domain_of_a_file_has_its_policy() {
    let two = Two::start();
    eventually("the second trust domain has its policy", || {
        two.other(&["policy", "show", "-o", "json"]).1.contains("limit").then_some(())
    });
    let own = two.world.json(&["policy", "show"]).to_string();
    assert!(own.contains("balance") && !own.contains("limit"), "{own}");
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
    let agent = attest_at(two.channel(OTHER), "join_token", token).await.unwrap();
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
