//! What two sidecars carry for a workload that speaks HTTP/1.1. The test is the workload at both ends of one sidecar,
//! which dials itself, and the service behind it says what a script says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sekisho_net::Acceptor;
use sekisho_sdk::IdentitySource;
use sekisho_types::TrustDomain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peers::clock;
use crate::world::{Role, TRUST_DOMAIN, World, eventually, free_port, program};

const ID: &str = "spiffe://example.org/own/workload";
const POLICY: &str = "package workload.authz\n\ndefault allow := false\n\nallow if input.path[0] == \"v1\"\n";

struct Pair {
    _sidecar: Role,
    entry: String,
    world: World,
    inbound: u16,
    local: String,
    /// Connections that the service has accepted.
    accepted: Arc<AtomicUsize>,
}

impl Pair {
    fn open() -> Self {
        let inbound = free_port();
        Self::open_to(World::start(), inbound, inbound)
    }

    /// A sidecar that serves at one port and dials another.
    fn open_to(world: World, inbound: u16, dialled: u16) -> Self {
        world.set_policy(POLICY);
        let entry = world.register("/own/workload", &World::own_selectors());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (upstream, accepted) = (listener.local_addr().unwrap().to_string(), Arc::<AtomicUsize>::default());
        let counts = accepted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counts.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || while serve(&mut BufReader::new(&stream)).is_some_and(|goes_on| goes_on) {});
            }
        });
        let local = format!("127.0.0.1:{}", free_port());
        let mut command = std::process::Command::new(program("sekisho"));
        command.args(["proxy", "--trust-domain", TRUST_DOMAIN, "--log", "warn", "--upstream", &upstream]);
        command.args(["--inbound", &format!("127.0.0.1:{inbound}")]);
        command.args(["--outbound", &format!("{local}=127.0.0.1:{dialled}={ID}")]);
        command.args(["--workload-pid", &std::process::id().to_string()]);
        command.arg("--agent-socket").arg(world.agent_socket()).arg("--data").arg(world.path("p"));
        let sidecar = Role::start(&mut command);
        sidecar.ready();
        Self { _sidecar: sidecar, entry, world, inbound, local, accepted }
    }

    fn ready(self) -> Self {
        eventually("policy reaches the sidecar", || (self.dial().get("/v1/own").0 == 200).then_some(()));
        self
    }

    fn dial(&self) -> Caller {
        let stream = TcpStream::connect(&self.local).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Caller(BufReader::new(stream))
    }

    /// Connections between the sidecars that are open, as the kernel lists their dialling ends.
    fn between(&self) -> usize {
        let to = format!(":{:04X}", self.inbound);
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.len() > 3 && fields[2].ends_with(&to) && fields[3] == "01"
        };
        table.lines().filter(is_open).count()
    }
}

type Fields = BTreeMap<String, String>;

/// Reads a head: its first line and its fields.
fn read_head(reader: &mut impl BufRead) -> Option<(String, Fields)> {
    let mut line = || {
        let mut text = String::new();
        (reader.read_line(&mut text).ok()? > 0).then(|| text.trim_end().to_owned())
    };
    let (first, mut fields) = (line()?, Fields::new());
    loop {
        let text = line()?;
        if text.is_empty() {
            return Some((first, fields));
        }
        let (name, value) = text.split_once(": ").unwrap_or((&text, ""));
        fields.insert(name.to_ascii_lowercase(), value.to_owned());
    }
}

/// Reads a body by its length or its chunks; what follows the last chunk is part of it.
fn read_body(reader: &mut impl BufRead, fields: &Fields) -> Option<String> {
    let mut body = Vec::new();
    if fields.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                let mut line = String::new();
                while reader.read_line(&mut line).ok()? > 2 {
                    body.extend(line.as_bytes());
                    line.clear();
                }
                break;
            }
            let mut chunk = reader.take(size);
            chunk.read_to_end(&mut body).ok()?;
            reader.read_line(&mut String::new()).ok()?;
        }
    } else {
        let length = fields.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let received = reader.take(length).read_to_end(&mut body).ok()?;
        if (received as u64) < length {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// One exchange of the service. Returns whether the connection goes on.
fn serve(reader: &mut BufReader<&TcpStream>) -> Option<bool> {
    let (first, fields) = read_head(reader)?;
    let mut writer = *reader.get_ref();
    let path = first.split(' ').nth(1)?.to_owned();
    let say = |writer: &mut &TcpStream, text: &str| writer.write_all(text.as_bytes()).ok();
    if path == "/v1/early" {
        say(&mut writer, "HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntoo big")?;
        return Some(false);
    }
    let body = read_body(reader, &fields)?;
    let answer = match path.as_str() {
        "/v1/echo" => {
            let framing = fields.get("transfer-encoding").map_or("sized", String::as_str);
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-framing: {framing}\r\n\r\n{body}", body.len())
        }
        "/v1/chunks" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n".into(),
        "/v1/trailers" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n"
                .into()
        }
        "/v1/empty" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/v1/unsized" => {
            say(&mut writer, "HTTP/1.1 200 OK\r\n\r\nuntil it closes")?;
            return Some(false);
        }
        "/v1/short" => {
            say(&mut writer, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred")?;
            return Some(false);
        }
        // A second answer that was not asked for, two lengths, and a line feed within a value.
        "/v1/split" => {
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged".into()
        }
        "/v1/lengths" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nforged".into(),
        "/v1/value" => "HTTP/1.1 200 OK\r\nx: a\rset-cookie: forged\r\ncontent-length: 2\r\n\r\nok".into(),
        "/v1/both" => {
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nforged".into()
        }
        "/v1/interim" => {
            format!("{}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged", "HTTP/1.1 103 Early\r\n\r\n".repeat(17))
        }
        "/v1/claims" => {
            "HTTP/1.1 200 OK\r\nX-Sekisho-Peer-Id: spiffe://example.org/admin\r\ncontent-length: 2\r\n\r\nok".into()
        }
        "/v1/upgraded" => "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nforged".into(),
        _ => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()),
    };
    say(&mut writer, &answer)?;
    Some(true)
}

/// A connection of the workload to its sidecar.
struct Caller(BufReader<TcpStream>);

impl Caller {
    fn say(&mut self, text: &str) {
        // A closed connection is noticed when it is read.
        let _ended = self.0.get_mut().write_all(text.as_bytes());
    }

    /// Status and body; 0 if the connection closes instead.
    fn hear(&mut self) -> (u16, String) {
        let Some((first, fields)) = read_head(&mut self.0) else { return (0, String::new()) };
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        match read_body(&mut self.0, &fields) {
            Some(body) => (status, body),
            None => (0, first),
        }
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: own\r\n\r\n"));
        self.hear()
    }
}

#[test]
fn each_request_gets_its_own_answer() {
    let pair = Pair::open().ready();
    let post = |path: &str, rest: &str| format!("POST {path} HTTP/1.1\r\nhost: own\r\n{rest}");
    for (request, status, body) in [
        (post("/v1/echo", "content-length: 5\r\n\r\nhello"), 200, "hello"),
        (post("/v1/echo", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), 200, "hello!"),
        (post("/v1/echo", "content-length: 0\r\n\r\n"), 200, ""),
        (post("/v1/chunks", "content-length: 1\r\n\r\na"), 200, "abcde"),
        (post("/v1/empty", "content-length: 1\r\n\r\na"), 204, ""),
        (post("/v1/unsized", "\r\n"), 200, "until it closes"),
        ("GET /v1/trailers HTTP/1.1\r\nhost: own\r\nte: trailers\r\n\r\n".to_owned(), 200, "ab"),
        ("GET /denied HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 403, "denied by policy"),
        ("GET /v1/split HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 200, "ok"),
        ("GET /v1/lengths HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 502, "did not answer"),
        ("GET /v1/value HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 502, "did not answer"),
        ("GET /v1/both HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 502, "did not answer"),
        ("GET /v1/interim HTTP/1.1\r\nhost: own\r\n\r\n".to_owned(), 502, "did not answer"),
    ] {
        let mut caller = pair.dial();
        caller.say(&request);
        let heard = caller.hear();
        assert!(heard.0 == status && heard.1.contains(body), "{request:?}: {heard:?}");
        assert!(!heard.1.contains("forged"), "{request:?}: {heard:?}");
        for own in ["/v1/own/1", "/v1/own/2"] {
            assert_eq!(caller.get(own), (200, own.to_owned()), "after {request:?}");
        }
    }
    // An answer that breaks off does not look whole, and nothing follows it.
    assert_eq!(pair.dial().get("/v1/short").0, 0);
    assert_eq!(pair.dial().get("/v1/own").0, 200);
    // An upgrade that was not asked for is not an answer.
    let upgraded = pair.dial().get("/v1/upgraded");
    assert!(upgraded.0 == 502 && !upgraded.1.contains("forged"), "{upgraded:?}");
    // One after the other they need no second connection, but where one broke.
    assert!(pair.between() <= 2, "{} connections between the sidecars", pair.between());
}

#[test]
fn malformed_answers_of_a_workload_are_recorded() {
    let pair = Pair::open().ready();
    for (path, reason) in [("both", "read in two ways"), ("interim", "interim answers"), ("lengths", "content-length")]
    {
        assert_eq!(pair.dial().get(&format!("/v1/{path}")).0, 502, "{path}");
        eventually("the refusal is recorded", || {
            let listed = pair.world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
            let of_answers = listed.as_array()?.iter().map(|row| &row["record"]).filter(|row| row["what"] == "answer");
            let mut reasons = of_answers.filter_map(|row| row["reason"].as_str());
            reasons.any(|found| found.contains(reason)).then_some(())
        });
    }
}

#[test]
fn answers_name_no_peer() {
    let pair = Pair::open().ready();
    let mut caller = pair.dial();
    caller.say("GET /v1/claims HTTP/1.1\r\nhost: own\r\n\r\n");
    let (first, fields) = read_head(&mut caller.0).unwrap();
    assert!(first.contains(" 200 ") && fields.contains_key("content-length"), "{first}: {fields:?}");
    assert!(!fields.contains_key("x-sekisho-peer-id"), "{fields:?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let pair = Pair::open().ready();
    let (mut caller, accepted) = (pair.dial(), pair.accepted.load(Ordering::Relaxed));
    let paths: Vec<_> = (0..50).map(|number| format!("/v1/own/{number}")).collect();
    caller.say(&paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: own\r\n\r\n")).collect::<String>());
    for path in &paths {
        assert_eq!(caller.hear(), (200, path.clone()));
    }
    assert!(pair.accepted.load(Ordering::Relaxed) <= accepted + 1);
    assert_eq!(pair.between(), 1);
    // Each is judged by itself.
    let mixed = ["/v1/own/a", "/other", "/v1/own/b"];
    caller.say(&mixed.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: own\r\n\r\n")).collect::<String>());
    assert_eq!(mixed.map(|_| caller.hear().0), [200, 403, 200]);
}

#[test]
fn an_early_answer_passes_both_sidecars() {
    let pair = Pair::open().ready();
    for round in 0..10 {
        let mut caller = pair.dial();
        caller.say("POST /v1/early HTTP/1.1\r\nhost: own\r\ncontent-length: 4000000\r\n\r\n");
        let mut writer = caller.0.get_ref().try_clone().unwrap();
        let sends = std::thread::spawn(move || {
            let _refused = writer.write_all(&vec![b'x'; 4_000_000]);
        });
        assert_eq!(caller.hear(), (413, "too big".to_owned()), "round {round}");
        drop(caller);
        sends.join().unwrap();
        assert_eq!(pair.dial().get("/v1/own").0, 200, "round {round}");
    }
}

#[test]
fn tunnels_upgrades_and_trailers_are_refused() {
    let pair = Pair::open().ready();
    for (request, status) in [
        ("CONNECT own:443 HTTP/1.1\r\nhost: own:443\r\n\r\n", 400),
        ("GET /v1/own HTTP/1.1\r\nhost: own\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 400),
        ("TRACE /v1/own HTTP/1.1\r\nhost: own\r\n\r\n", 400),
        ("POST /v1/echo HTTP/1.1\r\nhost: own\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n", 400),
    ] {
        let mut caller = pair.dial();
        caller.say(request);
        let heard = caller.hear();
        assert_eq!(heard.0, status, "{request:?}: {heard:?}");
    }
    assert_eq!(pair.dial().get("/v1/own").0, 200);
}

#[test]
fn law_l12_each_request_on_a_connection_is_decided() {
    let pair = Pair::open().ready();
    let mut caller = pair.dial();
    assert_eq!(caller.get("/v1/own").0, 200);
    pair.world.set_policy(&POLICY.replace("\"v1\"", "\"v2\""));
    eventually("the new policy denies", || (caller.get("/v1/own").0 == 403).then_some(()));
    assert_eq!(caller.get("/v2/own").0, 200);
    // Without an identity there is none to dial with, and what waited is closed.
    pair.world.text(&["entry", "delete", &pair.entry]);
    eventually("nothing passes", || (pair.dial().get("/v2/own").0 != 200).then_some(()));
    eventually("no connection is left", || (pair.between() == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_peer_is_asked_over_http2() {
    let (world, dialled) = (World::start(), free_port());
    let pair = tokio::task::spawn_blocking(move || Pair::open_to(world, free_port(), dialled)).await.unwrap();
    let source =
        IdentitySource::of_self(&pair.world.agent_socket(), &TrustDomain::parse(TRUST_DOMAIN).unwrap()).unwrap();
    source.ready().await;
    // As sidecars offered it before.
    let acceptor = Acceptor::new(&source.tls, true, &[b"h2", b"http/1.1"]).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", dialled)).await.unwrap();
    let served = Arc::<AtomicUsize>::default();
    let counts = served.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counts) = (acceptor.clone(), counts.clone());
            tokio::spawn(async move {
                let Ok((stream, peer)) = acceptor.accept(stream, clock()).await else { return };
                assert_eq!(peer.protocol, b"h2");
                let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    counts.fetch_add(usize::from(request.version() == hyper::Version::HTTP_2), Ordering::Relaxed);
                    std::future::ready(Ok::<_, std::convert::Infallible>(hyper::Response::new("old".to_owned())))
                });
                let stream = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let _ended = hyper::server::conn::http2::Builder::new(executor).serve_connection(stream, service).await;
            });
        }
    });
    let pair = tokio::task::spawn_blocking(move || {
        let mut caller = pair.dial();
        for _ in 0..3 {
            assert_eq!(caller.get("/v1/own"), (200, "old".to_owned()));
        }
        pair
    });
    pair.await.unwrap();
    assert_eq!(served.load(Ordering::Relaxed), 3);
}

/// A request gets 502 and the sidecar records the reason, if its peer answers each connection with these bytes.
async fn recorded_of_a_peer(protocol: &'static [u8], answer: Vec<u8>, reason: &'static str) {
    let (world, dialled) = (World::start(), free_port());
    let pair = tokio::task::spawn_blocking(move || Pair::open_to(world, free_port(), dialled)).await.unwrap();
    let source =
        IdentitySource::of_self(&pair.world.agent_socket(), &TrustDomain::parse(TRUST_DOMAIN).unwrap()).unwrap();
    source.ready().await;
    let acceptor = Acceptor::new(&source.tls, true, &[protocol]).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", dialled)).await.unwrap();
    let peer = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok((mut stream, _)) = acceptor.accept(stream, clock()).await else { return };
                let (mut read, pause) = (vec![], Duration::from_millis(500));
                let mut count = stream.read_buf(&mut read).await;
                // The request has come when nothing follows.
                while count.is_ok_and(|count| count > 0) {
                    let Ok(next) = tokio::time::timeout(pause, stream.read_buf(&mut read)).await else { break };
                    count = next;
                }
                stream.write_all(&answer).await.unwrap();
                let _closed = stream.read_to_end(&mut read).await;
            });
        }
    });
    let asked = tokio::task::spawn_blocking(move || {
        assert_eq!(pair.dial().get("/v1/own").0, 502, "{reason}");
        eventually(reason, || {
            let listed = pair.world.json(&["decisions", "--effect", "refusal", "--limit", "1000"]);
            let of_answers = listed.as_array()?.iter().map(|row| &row["record"]).filter(|row| row["what"] == "answer");
            let mut reasons = of_answers.filter_map(|row| row["reason"].as_str());
            reasons.any(|found| found.contains(reason)).then_some(())
        });
    });
    asked.await.unwrap();
    peer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_answers_of_a_peer_are_recorded() {
    let early = crate::http2::headers(1, &[(":status", "103")], false);
    let flood = [crate::http2::no_window(), early.repeat(18)].concat();
    // Data belongs to a stream (RFC 9113 §6.1).
    let no_stream = [crate::http2::no_window(), crate::http2::data(0, b"x")].concat();
    tokio::join!(
        recorded_of_a_peer(b"h2", flood, "interim answers"),
        recorded_of_a_peer(b"h2", no_stream, "protocol error"),
        recorded_of_a_peer(b"sekisho-http/1", b"HTTP/1.1 abc OK\r\n\r\n".to_vec(), "invalid HTTP"),
    );
}
