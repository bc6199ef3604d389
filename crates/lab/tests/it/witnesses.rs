//! Witnesses (c2sp.org/tlog-witness): one written here by the specification, and how the server asks it to cosign.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_keys::MemoryKey;
use sekisho_ledger::{Checkpoint, ConsistencyProof, TrustPolicy, check_growth, sha256_of};
use sekisho_types::{SignatureAlgorithm, Signer};

use crate::peers::Attested;
use crate::published::get;
use crate::world::{World, eventually};

#[derive(Clone)]
enum Mode {
    Honest,
    /// It signs another text.
    WrongSignature,
    Redirect(String),
}

struct State {
    mode: Mode,
    log: TrustPolicy,
    cosigned: Option<Checkpoint>,
    /// Statuses that were answered.
    answers: Vec<u16>,
}

/// A witness of one log, on a port of this machine.
struct Witness {
    name: &'static str,
    key: MemoryKey,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Witness {
    fn start(name: &'static str, log: &str) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = TrustPolicy::parse(log).unwrap();
        let state = Arc::new(Mutex::new(State { mode: Mode::Honest, log, cosigned: None, answers: vec![] }));
        let key = MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap();
        let port = listener.local_addr().unwrap().port();
        let witness = Arc::new(Self { name, key, port, state });
        let serving = witness.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serving.serve(stream.unwrap());
            }
        });
        witness
    }

    fn id(&self) -> Vec<u8> {
        let public = &self.key.public_key_der()[12..];
        sha256_of(&[self.name.as_bytes(), b"\n\x04", public].concat())[..4].to_vec()
    }

    /// Its line in a policy.
    fn line(&self) -> String {
        let key = BASE64.encode([b"\x04", &self.key.public_key_der()[12..]].concat());
        let (name, id, port) = (self.name, hex::encode(self.id()), self.port);
        format!("witness {name} {name}+{id}+{key} http://127.0.0.1:{port}/w/\n")
    }

    fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    fn answers(&self) -> Vec<u16> {
        self.state.lock().unwrap().answers.clone()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut request = vec![];
        let mut chunk = [0; 4096];
        let (head, body) = loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    break (head.to_owned(), body.to_owned());
                }
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&chunk[..read]),
            }
        };
        assert!(head.starts_with("POST /w/add-checkpoint HTTP/1.1"), "{head}");
        let (status, extra, body) = self.answer(&body);
        self.state.lock().unwrap().answers.push(status);
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} x\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let _gone = stream.write_all(answer.as_bytes());
    }

    /// c2sp.org/tlog-witness, "add-checkpoint", in the order of its text.
    fn answer(&self, body: &str) -> (u16, String, String) {
        let mut state = self.state.lock().unwrap();
        let plain = |status: u16| (status, String::new(), String::new());
        if let Mode::Redirect(to) = &state.mode {
            return (307, format!("location: {to}\r\n"), String::new());
        }
        let Ok(proof) = ConsistencyProof::parse(body) else { return plain(400) };
        let Ok(new) = state.log.verify(&proof.checkpoint) else { return plain(403) };
        if proof.old_size > new.size {
            return plain(400);
        }
        let empty = Checkpoint { origin: new.origin.clone(), size: 0, root: sha256_of(b"") };
        let old = state.cosigned.clone().unwrap_or(empty);
        if proof.old_size != old.size {
            return (409, "content-type: text/x.tlog.size\r\n".to_owned(), format!("{}\n", old.size));
        }
        if check_growth(&old, &new, &proof.path).is_err() {
            return plain(422);
        }
        let time = 1_800_000_000u64;
        let text = if matches!(state.mode, Mode::WrongSignature) { old.to_string() } else { new.to_string() };
        let signed = self.key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes()).unwrap();
        if !matches!(state.mode, Mode::WrongSignature) {
            state.cosigned = Some(new);
        }
        let signature = BASE64.encode([&self.id()[..], &time.to_be_bytes(), &signed].concat());
        (200, String::new(), format!("— {} {signature}\n", self.name))
    }
}

async fn published(world: &World, policy: &TrustPolicy) -> Option<u64> {
    let (status, _, _, note) = get(world, "/checkpoint").await;
    if status != 200 {
        return None;
    }
    // What is published satisfies the policy, always.
    Some(policy.verify(&String::from_utf8(note).unwrap()).unwrap().size)
}

/// Waits until the published checkpoint covers `size` entries.
async fn until(world: &World, policy: &TrustPolicy, size: u64) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while published(world, policy).await.is_none_or(|published| published < size) {
        assert!(std::time::Instant::now() < end, "not cosigned in time: {}", world.server.as_ref().unwrap().stderr());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_checkpoint_has_each_cosignature_once() {
    let mut world = World::start();
    let trust = std::fs::read_to_string(world.path("s/trust-policy")).unwrap();
    let log = trust.lines().next().unwrap().to_owned();
    let (a, b) = (Witness::start("a.example", &trust), Witness::start("b.example", &trust));
    let witnesses = format!("{}{}group both 2 a.example b.example\nquorum both\n", a.line(), b.line());
    std::fs::write(world.path("witnesses"), &witnesses).unwrap();
    let policy = format!("{log}\n{witnesses}");
    std::fs::write(world.path("policy-of-auditors"), &policy).unwrap();
    let policy = TrustPolicy::parse(&policy).unwrap();
    // One of them has cosigned before, which the server does not know.
    let kept = std::fs::read_to_string(world.path("s/ledger/checkpoint")).unwrap();
    let kept = TrustPolicy::parse(&trust).unwrap().verify(&kept).unwrap();
    a.state.lock().unwrap().cosigned = Some(kept.clone());
    drop(world.server.take());
    let file = world.path("witnesses").display().to_string();
    world.server_options = vec!["--publish-log".into(), "--witnesses".into(), file];
    world.start_server();
    until(&world, &policy, kept.size + 1).await;
    assert_eq!(a.answers().first(), Some(&409), "it said how far it was, and was asked once more: {:?}", a.answers());
    world.text(&["prove", "0", "--file", "p"]);
    assert_eq!(world.json(&["verify", "p", "--trust-policy", "policy-of-auditors"])["verified"], true);

    // A witness that signs something else does not count: the published checkpoint waits.
    b.set(Mode::WrongSignature);
    let peer = Attested::new(&world).await;
    let (_, index) = peer.issue(&peer.entry(&world, "/own/a").await).await.unwrap();
    eventually("the server says so", || {
        world.server.as_ref().unwrap().stderr().contains("its cosignature is not good").then_some(())
    });
    assert!(published(&world, &policy).await.unwrap() <= index);
    b.set(Mode::Honest);
    until(&world, &policy, index + 1).await;
    // Kept over a restart, also while no witness answers.
    b.set(Mode::Redirect("http://127.0.0.1:9/".to_owned()));
    drop(world.server.take());
    world.start_server();
    assert!(published(&world, &policy).await.unwrap() > index);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_l13_redirects_of_witnesses_are_not_followed() {
    let mut world = World::start();
    let trust = std::fs::read_to_string(world.path("s/trust-policy")).unwrap();
    let witness = Witness::start("a.example", &trust);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/add-checkpoint", elsewhere.local_addr().unwrap());
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    std::thread::spawn(move || {
        for _connection in elsewhere.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    std::fs::write(world.path("witnesses"), format!("{}quorum a.example\n", witness.line())).unwrap();
    witness.set(Mode::Redirect(target));
    drop(world.server.take());
    world.server_options = vec!["--witnesses".into(), world.path("witnesses").display().to_string()];
    world.start_server();
    let says = |world: &World, text: &str| {
        eventually(text, || world.server.as_ref().unwrap().stderr().contains(text).then_some(()));
    };
    says(&world, "it answered with status 307");
    assert_eq!(hits.load(Ordering::SeqCst), 0, "the redirect was followed");
    // Put back whole by a snapshot, a folder looks right from within. The witness knows better.
    let longer = Checkpoint { origin: "x".into(), size: 1_000_000, root: [1; 32] };
    witness.state.lock().unwrap().cosigned = Some(longer);
    witness.set(Mode::Honest);
    drop(world.server.take());
    world.start_server();
    says(&world, "it has cosigned 1000000 entries of this log");
}
