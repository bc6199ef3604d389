//! What an operator does besides: health, metrics, units.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use sekisho_proto::workload::{JwtsvidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};

use crate::peers::Attested;
use crate::world::{World, eventually};

#[test]
fn law_l15_enforcement_and_its_gaps_are_reported() {
    let world = World::start();
    let digest = crate::world::digest(&crate::world::program("transactions"));
    world.register("/shop/ledger", &[format!("unix:sha256:{digest}")]);
    let free = || format!("127.0.0.1:{}", crate::world::free_port());
    let (inbound, service) = (free(), free());
    let mut command = std::process::Command::new(crate::world::program("sekisho"));
    command
        .args(["proxy", "--trust-domain", "example.org", "--log", "warn", "--agent-socket"])
        .arg(world.agent_socket());
    command.arg("--data").arg(world.path("ledger")).args(["--inbound", &inbound, "--upstream", &service, "--"]);
    command.arg(crate::world::program("transactions")).env("LISTEN", &service);
    let sidecar = crate::world::Role::start(&mut command);
    sidecar.ready();
    // Where the policy is enforced, by the sidecar's own report of what it loaded.
    let ask = "GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    eventually("the server hears which revision is in force", || {
        let said = crate::world::raw(&mut crate::world::unix(&world.path("s/api.sock")), ask);
        let health: serde_json::Value = serde_json::from_str(said.split("\r\n\r\n").nth(1)?).ok()?;
        let in_force = health["policy_in_force"]["spiffe://example.org/shop/ledger"][&world.agent_id].as_u64()?;
        (Some(in_force) == health["policy_revision"].as_u64()).then_some(())
    });
    // What it cannot close, it says: the service's own port is open to this machine.
    let said = sidecar.stderr();
    assert!(said.contains("not enforced") && said.contains(&service), "{said}");
}

#[test]
fn doctor_reports_each_problem_and_nothing_else() {
    let mut world = World::start();
    world.register("/own/test", &World::own_selectors());
    let checks = |world: &World| -> serde_json::Value {
        serde_json::from_str(&world.sekisho(&["doctor", "-o", "json"]).1).unwrap()
    };
    eventually("everything is well", || {
        let checks = checks(&world);
        let wrong = checks.as_array()?.iter().filter(|check| check["ok"] == false);
        // The free space of the machine's disk does not matter here.
        let others: Vec<_> = wrong.filter(|check| !check["id"].as_str().unwrap().ends_with("-disk")).collect();
        others.is_empty().then_some(())
    });
    drop(world.server.take());
    eventually("the server that is gone is named, with what to do", || {
        let checks = checks(&world);
        let check = |id: &str| checks.as_array()?.iter().find(|check| check["id"] == id).cloned();
        let (server, link) = (check("server")?, check("agent-server")?);
        let said = server["fix"].as_str().is_some_and(|fix| fix.contains("sekisho server"));
        (server["ok"] == false && link["ok"] == false && said).then_some(())
    });
}

#[test]
fn systemd_units_are_tight_and_valid() {
    let folder = crate::world::manifest_folder().join("../../deploy/systemd");
    let analyze = |arguments: &[&str], unit: &str| {
        let mut command = std::process::Command::new("systemd-analyze");
        command.args(arguments).arg(folder.join(unit)).output()
    };
    for unit in ["sekisho-server.service", "sekisho-agent.service", "sekisho-proxy@.service", "sekisho-svid@.service"] {
        let Ok(output) = analyze(&["security", "--offline=true", "--threshold=17"], unit) else {
            crate::world::skipped("no systemd-analyze here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{unit}: {}", said.lines().last().unwrap_or_default());
        let verified = analyze(&["verify"], unit).unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(!said.contains("Unknown"), "{unit}: {said}");
    }
}

/// Cure53 SPI-01-002: a file of keys that the world could read.
#[tokio::test(flavor = "multi_thread")]
async fn stored_files_are_closed_to_other_users() {
    let mut world = World::start();
    let peer = Attested::new(&world).await;
    peer.issue(&peer.entry(&world, "/own/kept").await).await.unwrap();
    let (data, copy) = (world.path("s").display().to_string(), world.path("copy").display().to_string());
    world.json(&["backup", "--trust-domain", "example.org", "--data", &data, "--to", &copy]);
    drop(world.server.take());
    let restored = world.path("restored").display().to_string();
    world.json(&["restore", "--trust-domain", "example.org", "--data", &restored, "--from", &copy]);
    let (mut files, mut open) = (0, vec![]);
    let mut folders = ["s", "a", "copy", "restored"].map(|name| world.path(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_dir() {
                folders.push(path.clone());
            }
            files += 1;
            // Every local process may ask the agent; all else is its owner's.
            let is_door = meta.file_type().is_socket() && path.ends_with("a/agent.sock");
            if mode & 0o077 != 0 && !is_door {
                open.push(format!("{mode:o} {}", path.display()));
            }
        }
    }
    assert!(open.is_empty() && files > 40, "{files} {open:#?}");
    for (folder, mode) in [("s", 0o700), ("a", 0o711), ("copy", 0o700), ("restored", 0o700)] {
        let found = std::fs::metadata(world.path(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{folder}: {found:o}");
    }
}

/// SPIRE #6732, and rule (i) of what its history teaches: tokens, selectors and environments are in no program's log.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_programs_log() {
    let mut world = World::start();
    let secret = "c2VjcmV0LW9mLWEtdXNlcg";
    // The same world again, as talkative as it gets.
    drop(world.agent.take());
    drop(world.server.take());
    world.log = "debug";
    world.start_server();
    world.start_agent();
    let made = world.json(&["token", "create"]);
    let token = made["token"].as_str().unwrap().to_owned();
    // One that was spent is part of its agent's name, as SPIRE has it, and opens nothing any more. One that was not,
    // here shown with something else wrong, opens everything.
    let (stranger, proof) = (crate::peers::stranger(&world), token.as_bytes());
    assert!(crate::peers::attest_with(stranger, "join_token", proof, b"no CSR").await.is_err());
    world.register("/shop/till", &World::own_selectors());
    let digest = crate::world::digest(&crate::world::program("transactions"));
    world.register("/shop/ledger", &[format!("unix:sha256:{digest}")]);
    let channel = sekisho_sdk::agent_channel(&world.agent_socket());
    let mut workload = SpiffeWorkloadApiClient::new(channel);
    let request = JwtsvidRequest { audience: vec!["a".into()], spiffe_id: String::new() };
    let jwt = workload.fetch_jwtsvid(request).await.unwrap().into_inner().svids.remove(0).svid;
    let free = || format!("127.0.0.1:{}", crate::world::free_port());
    let (inbound, service, local) = (free(), free(), free());
    let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
    let environment = [("LISTEN", service.as_str()), ("API_KEY", secret)];
    let ledger = world.sidecar("ledger", "transactions", &options, &environment);
    ledger.ready();
    let mut command = std::process::Command::new(crate::world::program("sekisho"));
    command.args(["proxy", "--trust-domain", "example.org", "--log", "debug", "--agent-socket"]);
    command.arg(world.agent_socket()).arg("--data").arg(world.path("till"));
    command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://example.org/shop/ledger"));
    let till = crate::world::Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
    till.ready();
    let headers = format!("authorization: Bearer {secret}\r\ncookie: a={secret}\r\nx-api-key: {secret}\r\n");
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&local).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: ledger\r\n{headers}");
        crate::world::raw(&mut stream, &format!("{head}connection: close\r\n\r\n"))
    };
    eventually("the policy is there", || get("/v1/balance").contains(" 200 ").then_some(()));
    assert!(get(&format!("/v1/elsewhere?token={secret}")).contains(" 403 "));
    assert!(get("/v1/../x").contains(" 400 "));
    let roles = [world.server.as_ref().unwrap(), world.agent.as_ref().unwrap(), &ledger, &till];
    let said: String = roles.map(crate::world::Role::stderr).concat();
    let own = std::env::current_exe().unwrap().display().to_string();
    for secret in [secret, &token, &jwt, jwt.rsplit('.').next().unwrap(), &digest, &own, "PRIVATE KEY"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
    assert!(said.lines().count() > 20, "they said something: {said}");
}

#[test]
fn an_agent_of_another_trust_domain_names_both() {
    let world = World::start();
    let fingerprint = world.text(&["bundle", "show", "--form", "fingerprint"]);
    let mut command = std::process::Command::new(crate::world::program("sekisho"));
    command.args(["agent", "--trust-domain", "other.org", "--server", &world.address]);
    command.args(["--fingerprint", fingerprint.lines().next().unwrap()]);
    command.arg("--data").arg(world.path("b")).arg("--join-token-file").arg(world.path("token"));
    let agent = crate::world::Role::start(&mut command);
    let both = "the server is of trust domain `example.org`, and `other.org` was expected; check `--trust-domain`";
    eventually("it names both", || agent.stderr().contains(both).then_some(()));
    assert!(!agent.stderr().contains("OtherError"), "{}", agent.stderr());
}

/// A server that would send no alert does not begin a log first.
#[tokio::test(start_paused = true)]
async fn a_wrong_webhook_is_found_before_all() {
    let mut world = crate::within::World::nowhere();
    world.server_options = ["--alert-webhook", "http://alerts.example/"].map(str::to_owned).into();
    let refused = world.try_server().await.err().unwrap();
    assert!(refused.contains("--alert-webhook") && refused.contains("use https"), "{refused}");
    assert!(!world.path("s/state.db").exists() && !world.path("s/ledger").exists());
}
