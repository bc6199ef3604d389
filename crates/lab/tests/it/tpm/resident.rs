//! Workloads whose key is in the TPM of their node: a real agent, real sidecars, and a hostile agent.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use sekisho_proto::node::{LendRequest, LendResponse, SignRequest, sidecar_client::SidecarClient};
use sekisho_sdk::{AgentChannel, agent_channel};
use tonic::{Code, Status, Streaming};

use super::{ISSUER, ROOT, Software};
use crate::world::{Role, TRUST_DOMAIN, World, copy_program, digest, eventually, free_port, program, raw};

/// A call is allowed by where its caller's key is.
const POLICY: &str = r#"package workload.authz

default allow := false

allow if {
	input.method == "GET"
	input.subject.claims["danger_software_tpm.key_class"] == "tpm-certified"
}
"#;
const IN_TPM: [&str; 2] = ["--tpm-key", "true"];

/// A server, and an agent by its TPM at which this test may be a sidecar.
struct Node {
    world: World,
    software: Software,
}

impl Node {
    fn new() -> Option<Self> {
        let software = Software::new()?;
        drop(software.connect());
        let own = digest(&std::env::current_exe().unwrap());
        let environment = vec![("SEKISHO_SIDECAR_SHA256".to_owned(), own)];
        let server = ["--danger-software-tpm-ca", &software.authority(ROOT)];
        let world = World::with_environment(&server, vec![], environment);
        let mut node = Self { world, software };
        node.start_agent();
        let agents = node.world.json(&["agents", "list"]);
        let by_tpm = |agent: &&serde_json::Value| agent["attestation_type"] == "danger_software_tpm";
        let ours = agents.as_array().unwrap().iter().find(by_tpm).unwrap();
        node.world.agent_id = ours["id"].as_str().unwrap().to_owned();
        Some(node)
    }

    fn start_agent(&mut self) {
        let mut command = self.world.agent_command("n", &self.world.path("no-token"));
        command.arg("--tpm").arg(self.software.socket()).arg("--tpm-chain").arg(self.software.authority(ISSUER));
        let agent = Role::start(&mut command);
        agent.ready();
        (self.world.agent, self.world.agent_data) = (Some(agent), "n".to_owned());
    }

    fn sidecar(&self) -> SidecarClient<AgentChannel> {
        SidecarClient::new(agent_channel(&self.world.agent_socket()))
    }
}

/// Two services with their sidecars; this test is the one that calls.
struct Shop {
    till: Till,
    _ledger: Role,
    node: Node,
    till_entry: String,
    inbound: String,
}

/// A sidecar of this test, and where it listens for it.
struct Till {
    _role: Role,
    local: String,
}

impl Till {
    fn open(node: &Node, name: &str, inbound: &str) -> Self {
        let local = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn"]);
        command.arg("--agent-socket").arg(node.world.agent_socket()).arg("--data").arg(node.world.path(name));
        command.arg("--outbound").arg(format!("{local}={inbound}=spiffe://{TRUST_DOMAIN}/shop/ledger"));
        let role = Role::start(command.arg("--workload-pid").arg(std::process::id().to_string()));
        role.ready();
        Self { _role: role, local }
    }

    /// The status of a call.
    fn get(&self) -> String {
        let mut stream = TcpStream::connect(&self.local).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let answer = raw(&mut stream, "GET /v1/balance HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

impl Shop {
    fn open() -> Option<Self> {
        let node = Node::new()?;
        let world = &node.world;
        world.set_policy(POLICY);
        let till_entry = world.register_with("/shop/till", &World::own_selectors(), &IN_TPM);
        let selectors = [format!("unix:sha256:{}", digest(&program("transactions")))];
        world.register_with("/shop/ledger", &selectors, &IN_TPM);
        let address = || format!("127.0.0.1:{}", free_port());
        let (inbound, service) = (address(), address());
        let options = ["--inbound", inbound.as_str(), "--upstream", service.as_str()];
        let ledger = world.sidecar("ledger", "transactions", &options, &[("LISTEN", &service)]);
        ledger.ready();
        Some(Self { till: Till::open(&node, "till", &inbound), _ledger: ledger, node, till_entry, inbound })
    }
}

#[test]
fn calls_pass_sidecars_with_keys_in_the_tpm() {
    let Some(mut shop) = Shop::open() else { return };
    eventually("the policy allows it by the key", || (shop.till.get() == "200").then_some(()));

    // Law L14: the agent has the keys again after a restart without its server. A further sidecar begins with a
    // handshake, in which both sides sign.
    shop.node.world.server.take().unwrap().kill();
    // It writes its cache twice a second at most.
    std::thread::sleep(Duration::from_secs(2));
    shop.node.world.agent.take().unwrap().kill();
    shop.node.start_agent();
    let further = Till::open(&shop.node, "further", &shop.inbound);
    eventually("calls go on without the server", || (further.get() == "200").then_some(()));
    shop.node.world.start_server();

    // With a key in software the policy denies it.
    let change = ["entry", "update", &shop.till_entry, "--tpm-key", "false"];
    let (code, out, err) = shop.node.world.sekisho(&change);
    assert!(code != 0 && err.contains("a key in the TPM of the node"), "{out}{err}");
    shop.node.world.text(&[&change[..], &["--danger-loosen"]].concat());
    eventually("the policy denies it by the key", || (shop.till.get() == "403").then_some(()));
}

/// What a server signs in a handshake of TLS 1.3.
fn handshake(side: &str) -> Vec<u8> {
    [&[0x20; 64][..], format!("TLS 1.3, {side} CertificateVerify\0").as_bytes(), &[7; 32]].concat()
}

async fn delegated(
    sidecar: &mut SidecarClient<AgentChannel>,
    pid: u32,
) -> Result<(LendResponse, Streaming<LendResponse>), Status> {
    let process = sekisho_host::Process::open(pid.cast_signed()).unwrap();
    let request = LendRequest {
        workload_pid: process.pid(),
        workload_start_time: process.start_time(),
        spiffe_id: String::new(),
    };
    let mut stream = sidecar.lend(request).await?.into_inner();
    let first = stream.message().await?.unwrap();
    Ok((first, stream))
}

async fn sign(sidecar: &mut SidecarClient<AgentChannel>, key: &[u8], content: Vec<u8>) -> Result<Vec<u8>, Code> {
    let request = SignRequest { signing_key: key.to_vec(), content };
    sidecar.sign(request).await.map(|answer| answer.into_inner().signature).map_err(|status| status.code())
}

/// Whether the key of the SVID's leaf made the signature.
fn is_signed_by(leaf: &[u8], content: &[u8], signature: &[u8]) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    let spki = sekisho_identity::leaf_facts(leaf).unwrap().public_key;
    // The point stands at the end of SubjectPublicKeyInfo.
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[spki.len() - 65..]).verify(content, signature).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_sidecar_signs_and_only_handshakes() {
    let Some(node) = Node::new() else { return };
    let till = node.world.path("bin-till");
    copy_program(&std::fs::canonicalize("/bin/sleep").unwrap(), &till);
    node.world.register_with("/shop/till", &[format!("unix:sha256:{}", digest(&till))], &IN_TPM);
    let mut workload = Command::new(&till).arg("600").spawn().unwrap();
    let mut sidecar = node.sidecar();
    assert_eq!(sign(&mut sidecar, &[0; 32], handshake("server")).await, Err(Code::PermissionDenied));

    let (first, stream) = delegated(&mut sidecar, workload.id()).await.unwrap();
    assert!(first.private_key.is_empty() && first.signing_key.len() == 32);
    let key = first.signing_key.clone();
    let mut took = vec![];
    for _ in 0..20 {
        for side in ["server", "client"] {
            let asked = Instant::now();
            let signature = sign(&mut sidecar, &key, handshake(side)).await.unwrap();
            took.push(asked.elapsed());
            assert!(is_signed_by(&first.cert_chain[0], &handshake(side), &signature));
        }
    }
    took.sort_unstable();
    println!("a signature by the agent: median {:?}, at most {:?}", took[20], took[39]);
    // Neither a certificate nor a token, nor anything that only begins like a handshake.
    let long = [handshake("server"), vec![7]].concat();
    for content in [vec![], b"0\x82 a certificate".to_vec(), vec![0x20; 130], long, vec![0x20; 1 << 20]] {
        assert_eq!(sign(&mut sidecar, &key, content).await, Err(Code::InvalidArgument));
    }
    assert_eq!(sign(&mut sidecar, &[1; 32], handshake("server")).await, Err(Code::PermissionDenied));
    assert_eq!(sign(&mut sidecar, &key[1..], handshake("server")).await, Err(Code::PermissionDenied));

    // Many at once wait in turn, and no more than a bound.
    let many = (0..100).map(|_| {
        let (mut sidecar, key) = (sidecar.clone(), key.clone());
        tokio::spawn(async move { sign(&mut sidecar, &key, handshake("server")).await.map(drop) })
    });
    let many: Vec<_> = futures_util::future::join_all(many.collect::<Vec<_>>()).await;
    let count = |wanted: Result<(), Code>| many.iter().filter(|one| *one.as_ref().unwrap() == wanted).count();
    assert_eq!(count(Ok(())) + count(Err(Code::ResourceExhausted)), 100, "{many:?}");
    assert!(count(Ok(())) >= 32, "{many:?}");

    // Another sidecar speaks for the same identity from here on.
    let options =
        ["--outbound".to_owned(), format!("127.0.0.1:{}={}=spiffe://{TRUST_DOMAIN}/x", free_port(), "127.0.0.1:9")];
    let mut command = Command::new(program("sekisho"));
    command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn"]).args(options);
    command.arg("--agent-socket").arg(node.world.agent_socket()).arg("--data").arg(node.world.path("other"));
    let other = Role::start(command.arg("--workload-pid").arg(workload.id().to_string()));
    other.ready();
    drop(stream);
    let refused = tokio::time::timeout(Duration::from_secs(10), async {
        while sign(&mut sidecar, &key, handshake("client")).await != Err(Code::PermissionDenied) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    refused.await.expect("nothing is delegated to this test any more");

    // A workload that has stopped.
    let (again, _stream) = delegated(&mut sidecar, workload.id()).await.unwrap();
    assert_eq!(again.signing_key, key, "the same process has the same SVID");
    sign(&mut sidecar, &key, handshake("client")).await.unwrap();
    workload.kill().unwrap();
    workload.wait().unwrap();
    assert_eq!(sign(&mut sidecar, &key, handshake("client")).await, Err(Code::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_tpm_nothing_is_signed() {
    let Some(mut node) = Node::new() else { return };
    node.world.register_with("/own/test", &World::own_selectors(), &IN_TPM);
    let mut sidecar = node.sidecar();
    let (first, _stream) = delegated(&mut sidecar, std::process::id()).await.unwrap();
    sign(&mut sidecar, &first.signing_key, handshake("server")).await.unwrap();
    node.software.stop();
    assert_eq!(sign(&mut sidecar, &first.signing_key, handshake("server")).await, Err(Code::Unavailable));
    let agent = node.world.agent.as_ref().unwrap();
    eventually("it says why", || agent.stderr().contains("the TPM did not sign a handshake").then_some(()));
    // It comes back with the same seeds, and so has the key again.
    node.software.reboot();
    drop(node.software.connect());
    sign(&mut sidecar, &first.signing_key, handshake("server")).await.unwrap();
}
