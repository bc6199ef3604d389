//! Clients of other projects. Each is skipped with a printed line where its program is absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::faults::Shim;
use crate::world::{Role, TRUST_DOMAIN, World, digest, eventually, free_port, manifest_folder, program};

/// The first of these programs that runs.
fn present(name: &str, programs: &[PathBuf]) -> Option<PathBuf> {
    let runs =
        |path: &&PathBuf| Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = programs.iter().find(runs).cloned();
    if found.is_none() {
        crate::world::skipped(&format!("no {name} here"));
    }
    found
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// This user, as a selector: the clients are interpreters and scripts.
fn own_user() -> Vec<String> {
    let uid = Command::new("id").arg("-u").output().unwrap();
    vec![format!("unix:uid:{}", String::from_utf8_lossy(&uid.stdout).trim())]
}

/// The service `ledger` behind its sidecar; its address.
fn service(world: &World) -> (crate::world::Role, String) {
    world.register("/shop/ledger", &[format!("unix:sha256:{}", digest(&program("transactions")))]);
    let (inbound, service) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
    let sidecar = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
    sidecar.ready();
    (sidecar, inbound)
}

#[test]
fn py_spiffe_gets_svids_and_sees_rotation() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let python = cache.unwrap_or_default().join("sekisho/python/bin/python");
    let Some(python) = present("Python with py-spiffe (deploy/setup.sh test)", &[python]) else { return };
    let shim = Shim::new();
    let world = World::with_environment(&["--x509-ttl", "60s"], shim.environment(), shim.environment());
    let entry = world.register("/own/python", &own_user());
    let script = manifest_folder().join("clients/workload.py");
    let client = Role::start(Command::new(python).arg(script).arg(world.agent_socket()).arg("60"));
    let said = std::cell::RefCell::new(String::new());
    let update = |line: &str| {
        said.borrow_mut().push_str(&format!("{line}\n"));
        line.strip_prefix("update ").map(str::to_owned)
    };
    let first = client.wait_for(update);
    shim.renews(&world, 31, &[&entry]);
    client.wait_for(|line| update(line).filter(|serial| *serial != first));
    let said = said.into_inner();
    for line in [
        "x509 spiffe://example.org/own/python",
        "bundle example.org 1",
        "jwt spiffe://example.org/own/python",
        "refused",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("offline spiffe://example.org/own/python"), "{said}");
}

#[test]
fn go_spiffe_gets_svids_and_calls_a_sidecar() {
    let Some(_go) = Command::new("go").arg("version").output().ok().filter(|output| output.status.success()) else {
        crate::world::skipped("no Go toolchain here");
        return;
    };
    let world = World::start();
    let client = world.path("go-client");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&client)
        .current_dir(manifest_folder().join("clients/go-spiffe"))
        .output()
        .unwrap();
    if !built.status.success() {
        crate::world::skipped(&format!("the Go client does not build here: {}", text(&built)));
        return;
    }
    world.register("/shop/till", &[format!("unix:sha256:{}", digest(&client))]);
    let (_sidecar, inbound) = service(&world);
    let run = || {
        Command::new(&client)
            .arg(world.agent_socket())
            .args([&inbound, "spiffe://example.org/shop/ledger"])
            .output()
            .unwrap()
    };
    let said = eventually("the policy is there and the client is served", || {
        let said = text(&run());
        said.contains("mtls 200").then_some(said)
    });
    assert!(
        said.contains("x509 spiffe://example.org/shop/till") && said.contains("offline spiffe://example.org/shop/till"),
        "{said}"
    );
    assert!(!said.contains("failed"), "{said}");
}

#[test]
fn curl_and_h2load_work_through_both_sidecars() {
    let Some(curl) = present("curl", &["curl".into()]) else { return };
    let Some(h2load) = present("h2load", &["h2load".into()]) else { return };
    let world = World::start();
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    world.register("/shop/till", &[format!("unix:path:{}", shell.display())]);
    let (_sidecar, inbound) = service(&world);
    let local = format!("127.0.0.1:{}", free_port());
    let script = format!(
        "until {curl} -sf http://{local}/v1/balance > one; do sleep 0.1; done
         {curl} -s --http2-prior-knowledge -o two -w '%{{http_version}} %{{http_code}}' http://{local}/v1/balance > how
         {curl} -s -o three -w '%{{http_code}}' -X POST -d a=b http://{local}/v1/balance > denied
         {h2load} -n 500 -c 4 -m 10 http://{local}/v1/balance > load 2>&1
         {h2load} --h1 -n 500 -c 4 http://{local}/v1/balance > load1 2>&1; touch done",
        curl = curl.display(),
        h2load = h2load.display(),
    );
    let mut command = Command::new(program("sekisho"));
    command
        .args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--agent-socket"])
        .arg(world.agent_socket());
    command.arg("--data").arg(world.path("till")).current_dir(world.folder.path());
    command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
    let _till = crate::world::Role::start(command.arg("--").arg(shell).args(["-c", &script]));
    eventually("the script is through", || world.path("done").exists().then_some(()));
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert!(read("one").contains("spiffe://example.org/shop/till"));
    assert_eq!((read("how").as_str(), read("denied").as_str()), ("2 200", "403"));
    for load in ["load", "load1"] {
        assert!(read(load).contains("500 succeeded, 0 failed, 0 errored"), "{}", read(load));
        assert!(read(load).contains("500 2xx"), "{}", read(load));
    }
}

/// A real SPIRE beside ours, where `SPIRE_BIN` names the folder with `spire-server` and `spire-agent`.
struct Spire {
    folder: PathBuf,
}

impl Spire {
    fn here() -> Option<Self> {
        let folder = std::env::var_os("SPIRE_BIN").map(PathBuf::from);
        if folder.is_none() {
            crate::world::skipped("SPIRE_BIN names no folder with spire-server and spire-agent");
        }
        folder.map(|folder| Self { folder })
    }

    fn start(&self, program: &str, config: &Path, options: &[&str]) -> crate::world::Role {
        let mut command = Command::new(self.folder.join(program));
        crate::world::Role::start(command.arg("run").arg("-config").arg(config).args(options))
    }

    fn server(&self, socket: &Path, arguments: &[&str]) -> Option<String> {
        let output =
            Command::new(self.folder.join("spire-server")).args(arguments).arg("-socketPath").arg(socket).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

const SPIRE_AGENT: &str = r#"agent {
    data_dir = "FOLDER/spire-agent"
    log_level = "WARN"
    server_address = "127.0.0.1"
    server_port = "PORT"
    socket_path = "FOLDER/spire.sock"
    trust_domain = "example.org"
    trust_bundle_path = "FOLDER/bundle.pem"
}
plugins {
    NodeAttestor "join_token" { plugin_data {} }
    KeyManager "memory" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
"#;

const SPIRE_SERVER: &str = r#"server {
    bind_address = "127.0.0.1"
    bind_port = "PORT"
    socket_path = "FOLDER/spire-server.sock"
    trust_domain = "example.org"
    data_dir = "FOLDER"
    log_level = "WARN"
}
plugins {
    DataStore "sql" { plugin_data { database_type = "sqlite3"
        connection_string = "FOLDER/spire.sqlite3" } }
    NodeAttestor "join_token" { plugin_data {} }
    KeyManager "memory" { plugin_data {} }
}
"#;

fn configure(world: &World, form: &str, port: &str) -> PathBuf {
    let folder = world.folder.path().display().to_string();
    let path = world.path("spire.conf");
    std::fs::write(&path, form.replace("FOLDER", &folder).replace("PORT", port)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_spire_agent_serves_our_svids() {
    let Some(spire) = Spire::here() else { return };
    let world = World::start();
    std::fs::write(world.path("bundle.pem"), world.text(&["bundle", "show"])).unwrap();
    let made = world.json(&["token", "create"]);
    let agent_id = made["agent_id"].as_str().unwrap();
    let selectors = World::own_selectors();
    world.json(&[
        "entry",
        "create",
        "--spiffe-id",
        "spiffe://example.org/own/spire",
        "--parent-id",
        agent_id,
        "--selector",
        &selectors[0],
    ]);
    std::fs::create_dir(world.path("spire-agent")).unwrap();
    let port = world.address.rsplit(':').next().unwrap();
    let _agent = spire.start(
        "spire-agent",
        &configure(&world, SPIRE_AGENT, port),
        &["-joinToken", made["token"].as_str().unwrap()],
    );
    eventually("SPIRE's agent listens", || world.path("spire.sock").exists().then_some(()));
    let id = fetched(&world.path("spire.sock")).await;
    assert_eq!(id, "spiffe://example.org/own/spire");
    let issued = world.leaves("issuance");
    assert!(
        issued.iter().any(|leaf| leaf["evidence"] == "node"),
        "SPIRE's call goes by node evidence alone: {issued:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn our_agent_serves_a_real_spire_servers_svids() {
    let Some(spire) = Spire::here() else { return };
    let mut world = World::start();
    let port = free_port().to_string();
    let _server = spire.start("spire-server", &configure(&world, SPIRE_SERVER, &port), &[]);
    let socket = world.path("spire-server.sock");
    let ask = |arguments: &[&str]| spire.server(&socket, arguments);
    eventually("SPIRE's server is healthy", || ask(&["healthcheck"]));
    let probe = format!(
        "(sleep 1) | openssl s_client -connect 127.0.0.1:{port} -tls1_3 -alpn h2 2>&1 | grep -q 'unexpected eof'"
    );
    if Command::new("sh").arg("-c").arg(probe).status().unwrap().success() {
        crate::world::skipped(
            "this spire-server ends every TLS 1.3 connection that offers resumption, OpenSSL's as well as ours",
        );
        return;
    }
    std::fs::write(world.path("spire.pem"), ask(&["bundle", "show"]).unwrap()).unwrap();
    let token = ask(&["token", "generate", "-output", "json"]).unwrap();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let token = token["value"].as_str().unwrap();
    std::fs::write(world.path("spire-token"), token).unwrap();
    let parent = format!("spiffe://example.org/spire/agent/join_token/{token}");
    let selectors = World::own_selectors();
    let entry = [
        "entry",
        "create",
        "-parentID",
        &parent,
        "-spiffeID",
        "spiffe://example.org/own/ours",
        "-selector",
        &selectors[0],
    ];
    ask(&entry).unwrap();
    let mut command = Command::new(program("sekisho"));
    command.args(["agent", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--server", &format!("127.0.0.1:{port}")]);
    command.arg("--data").arg(world.path("o")).arg("--join-token-file").arg(world.path("spire-token"));
    let agent = crate::world::Role::start(command.arg("--trust-bundle").arg(world.path("spire.pem")));
    agent.ready();
    world.agent_data = "o".into();
    assert_eq!(fetched(&world.agent_socket()).await, "spiffe://example.org/own/ours");
}

/// The ID of the first SVID that a Workload API gives this process, by the `spiffe` crate.
async fn fetched(socket: &Path) -> String {
    for _ in 0..100 {
        let client = spiffe::WorkloadApiClient::connect_to(format!("unix:{}", socket.display())).await;
        if let Ok(client) = client
            && let Ok(svid) = client.fetch_x509_svid().await
        {
            return svid.spiffe_id().to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("no SVID within 20 s");
}

#[test]
fn law_l10_no_session_is_offered_for_resumption() {
    let world = World::start();
    let session = world.path("session");
    let script = format!(
        "(sleep 1) | openssl s_client -connect {} -tls1_3 -alpn h2 -sess_out {} 2>&1 || true",
        world.address,
        session.display()
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("TLSv1.3"), "{text}");
    assert!(!text.contains("New Session Ticket") && !session.exists(), "{text}");
}
