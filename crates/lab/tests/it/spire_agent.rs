//! SPIRE's own agent on our server, if the folder `SPIRE_BIN` holds its program (tried with 1.16).

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::openssl::Openssl;
use crate::world::{Role, World, eventually};

struct Spire<'a> {
    program: PathBuf,
    world: &'a World,
    name: &'static str,
    role: Option<Role>,
}

impl<'a> Spire<'a> {
    fn new(world: &'a World, name: &'static str, attestor: &str) -> Option<Self> {
        let program = PathBuf::from(std::env::var_os("SPIRE_BIN")?).join("spire-agent");
        std::fs::write(world.path("boot.pem"), world.text(&["bundle", "show", "--form", "pem"])).unwrap();
        let (host, port) = world.address.rsplit_once(':').unwrap();
        let path = |file: &str| world.path(file).display().to_string();
        let configuration = format!(
            r#"agent {{
                data_dir = "{}"
                server_address = "{host}"
                server_port = "{port}"
                socket_path = "{}"
                trust_bundle_path = "{}"
                trust_domain = "example.org"
            }}
            plugins {{
                KeyManager "memory" {{ plugin_data {{}} }}
                {attestor}
                WorkloadAttestor "unix" {{ plugin_data {{}} }}
            }}"#,
            path(name),
            path(&format!("{name}.sock")),
            path("boot.pem"),
        );
        std::fs::write(world.path(&format!("{name}.conf")), configuration).unwrap();
        Some(Self { program, world, name, role: None })
    }

    fn start(&mut self, options: &[&str]) {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("-config").arg(self.world.path(&format!("{}.conf", self.name))).args(options);
        self.role = Some(Role::start(&mut command));
    }

    /// The SPIFFE IDs that a process of this user gets.
    fn gets(&self) -> Vec<String> {
        let mut command = Command::new(&self.program);
        command.args(["api", "fetch", "x509", "-timeout", "3s", "-socketPath"]);
        command.arg(self.world.path(&format!("{}.sock", self.name)));
        let said = command.stdin(Stdio::null()).output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let ids = said.lines().filter_map(|line| line.strip_prefix("SPIFFE ID:"));
        let mut ids: Vec<String> =
            ids.map(|id| id.trim().trim_start_matches("spiffe://example.org").to_owned()).collect();
        ids.sort();
        ids
    }

    fn waits_for(&self, ids: &[&str]) {
        eventually(&format!("{} gets {ids:?}", self.name), || (self.gets() == ids).then_some(()));
    }

    fn must_have_stopped(&mut self) {
        let child = &mut self.role.as_mut().unwrap().child;
        eventually("it ends", || child.try_wait().unwrap());
    }
}

fn entry(world: &World, path: &str, parent: &str, selector: &str) -> String {
    let id = format!("spiffe://example.org{path}");
    let made = world.json(&["entry", "create", "--spiffe-id", &id, "--parent-id", parent, "--selector", selector]);
    made["id"].as_str().unwrap().to_owned()
}

#[test]
fn spires_agent_renews_and_joins_again_after_eviction() {
    let world = World::with(&["--agent-ttl", "20s", "--x509-ttl", "30s"]);
    let Some(mut spire) = Spire::new(&world, "token-agent", r#"NodeAttestor "join_token" { plugin_data {} }"#) else {
        crate::world::skipped("SPIRE_BIN names no folder with spire-agent");
        return;
    };
    let token = || world.json(&["token", "create", "--agent-id", "spire"])["token"].as_str().unwrap().to_owned();
    let own = format!("unix:uid:{}", sekisho_host::own_uid());
    let id = "spiffe://example.org/spire/agent/join_token/spire";
    entry(&world, "/own/direct", id, &own);
    let first = token();
    spire.start(&["-joinToken", &first]);
    spire.waits_for(&["/own/direct"]);
    // Past the life of its first SVID, by `RenewAgent`.
    std::thread::sleep(std::time::Duration::from_secs(25));
    let deleted = entry(&world, "/own/late", id, &own);
    spire.waits_for(&["/own/direct", "/own/late"]);
    world.text(&["entry", "delete", &deleted]);
    spire.waits_for(&["/own/direct"]);
    world.text(&["agents", "evict", id]);
    spire.must_have_stopped();
    spire.start(&["-joinToken", &first]);
    world.log_says("the join token is unknown or was used before");
    spire.start(&["-joinToken", &token()]);
    spire.waits_for(&["/own/direct"]);
    world.text(&["agents", "ban", id]);
    spire.must_have_stopped();
}

#[test]
fn spires_agent_attests_by_certificate_and_serves_aliases() {
    let openssl = Openssl::new();
    for key in ["ec -pkeyopt ec_paramgen_curve:P-256", "rsa:2048"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        openssl.node_with(folder.path(), key, "subjectAltName=URI:x509pop://example.org/env/prod");
        std::fs::write(path("ca.pem"), openssl.authority_pem()).unwrap();
        let (certificate, private, authority) = (path("node.pem"), path("node.key"), path("ca.pem"));
        let options = ["--agent-ttl", "20s", "--x509-ttl", "30s", "--x509pop-ca"];
        let world = World::with(&[&options[..], &[authority.to_str().unwrap()]].concat());
        let attestor = format!(
            r#"NodeAttestor "x509pop" {{ plugin_data {{ private_key_path = "{}" certificate_path = "{}" }} }}"#,
            private.display(),
            certificate.display()
        );
        let Some(mut spire) = Spire::new(&world, "pop-agent", &attestor) else {
            crate::world::skipped("SPIRE_BIN names no folder with spire-agent");
            return;
        };
        let own = format!("unix:uid:{}", sekisho_host::own_uid());
        entry(&world, "/fleet/prod", "spiffe://example.org/spire/server", "x509pop:san:env:prod");
        entry(&world, "/own/child", "spiffe://example.org/fleet/prod", &own);
        entry(&world, "/own/grandchild", "spiffe://example.org/own/child", &own);
        spire.start(&[]);
        spire.waits_for(&["/own/child", "/own/grandchild"]);
        let agents = world.json(&["agents", "list"]);
        let agent = agents.as_array().unwrap().iter().find(|agent| agent["attestation_type"] == "x509pop").unwrap();
        let attested = || world.leaves("attestation").len();
        let before = attested();
        eventually("it attests again by itself", || (attested() > before).then_some(()));
        world.text(&["agents", "evict", agent["id"].as_str().unwrap()]);
        eventually("it attests again after its eviction", || {
            let agents = world.json(&["agents", "list"]);
            agents.as_array().unwrap().iter().any(|now| now["id"] == agent["id"]).then_some(())
        });
        spire.waits_for(&["/own/child", "/own/grandchild"]);
    }
}
