//! Disks, clocks and links that fail. What was acknowledged stays, what is held goes on serving, what comes back works.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sekisho_proto::spire::entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient};
use sekisho_proto::types;
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};

use crate::peers::Attested;
use crate::world::{World, eventually, raw, unix};

/// A library that lies to a role about its clocks and its disk, and the file that says how.
pub struct Shim {
    folder: tempfile::TempDir,
}

/// The writes that fail with ENOSPC.
#[derive(Clone, Copy)]
pub enum Full {
    None = 0,
    All = 1,
    Decisions = 2,
    Database = 3,
    Log = 4,
}

impl Shim {
    pub fn new() -> Self {
        let new = Self { folder: tempfile::tempdir().unwrap() };
        let source = crate::world::manifest_folder().join("tests/it/shim.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(new.library()).arg(source).arg("-ldl");
        assert!(cc.status().unwrap().success());
        new.set(0, 0, Full::None);
        new
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("shim.so")
    }

    pub fn set(&self, clock_seconds: i64, fsync_milliseconds: u32, full: Full) {
        self.write(&format!("{clock_seconds} {fsync_milliseconds} {} 0 0 0 0\n", full as u8));
    }

    /// As if the machine had run on for so long: both of its clocks are ahead.
    pub fn run_on(&self, seconds: i64, clock_seconds: i64) {
        self.write(&format!("{clock_seconds} 0 0 {seconds} 0 0 0\n"));
    }

    /// The world's machine has run on by `seconds`, in which the SVIDs of these entries were renewed.
    pub fn renews(&self, world: &World, seconds: i64, entries: &[&str]) {
        let before: Vec<usize> = entries.iter().map(|entry| world.issued(entry)).collect();
        self.run_on(seconds, seconds);
        eventually("the SVIDs are renewed", || {
            world.wakes();
            entries.iter().zip(&before).all(|(entry, before)| world.issued(entry) > *before).then_some(())
        });
    }

    /// The machine ran on, and each sync takes so long.
    pub fn run_on_with_slow_syncs(&self, seconds: i64, fsync_milliseconds: u32) {
        self.write(&format!("{seconds} {fsync_milliseconds} 0 {seconds} 0 0 0\n"));
    }

    /// The next so many syncs of files and folders of the log fail; `serial` differs each time.
    fn fail_syncs(&self, count: u32, serial: u32) {
        self.write(&format!("0 0 0 0 {count} {serial} 0\n"));
    }

    /// The next so many syncs of the database's write-ahead log fail.
    fn fail_database_syncs(&self, count: u32, serial: u32) {
        self.write(&format!("0 0 0 0 {count} {serial} 1\n"));
    }

    fn write(&self, values: &str) {
        let (new, path) = (self.folder.path().join("new"), self.folder.path().join("values"));
        std::fs::write(&new, values).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let values = self.folder.path().join("values").display().to_string();
        let danger = ("SEKISHO_DANGER_PRELOAD".into(), "true".into());
        vec![("LD_PRELOAD".into(), self.library().display().to_string()), ("SHIM".into(), values), danger]
    }
}

/// The serial number of the first SVID that the agent gives this process, if it gives one.
async fn svid(world: &World) -> Option<String> {
    let mut client = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
    let asked = async { client.fetch_x509svid(X509svidRequest {}).await.ok()?.into_inner().message().await.ok()? };
    let answer = tokio::time::timeout(Duration::from_secs(15), asked).await.ok()??;
    let chain = sekisho_identity::split_chain(&answer.svids.first()?.x509_svid).ok()?;
    Some(sekisho_identity::leaf_facts(&chain[0]).ok()?.serial)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_space_returns() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/full").await;
    let (_, index) = peer.issue(&entry).await.unwrap();
    shim.set(0, 0, Full::All);
    for _ in 0..5 {
        let refused = peer.issue(&entry).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
        let (code, _, error) = world.sekisho(&["token", "create"]);
        assert!(code != 0 && error.contains("its log says why"), "{code}: {error}");
    }
    let readiness =
        || raw(&mut unix(&world.path("s/api.sock")), "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let full = readiness();
    assert!(full.starts_with("HTTP/1.1 503") && full.contains("ledger"), "{full}");
    eventually("the disk is found full", || readiness().contains("\"disk\"").then_some(()));
    shim.set(0, 0, Full::None);
    eventually("room makes the server ready", || readiness().starts_with("HTTP/1.1 200").then_some(()));
    let (_, next) = peer.issue(&entry).await.unwrap();
    assert!(next > index);
    world.json(&["token", "create"]);
    // A restart finds the same, and no entry that was refused.
    let mut world = world;
    let before = world.leaves("issuance").len();
    drop(world.server.take());
    world.start_server();
    assert!(world.leaves("issuance").len() >= before);
    // Two were made, and none of the five that were refused.
    let of_entry = world.leaves("issuance").iter().filter(|leaf| leaf["entry"] == entry.as_str()).count();
    assert!((1..=2).contains(&of_entry), "{of_entry}");
    world.text(&["entry", "show", &entry]);
}

fn readiness(world: &World) -> String {
    raw(&mut unix(&world.path("s/api.sock")), "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

/// Creates an entry by one call, and nothing after it; whether that was acknowledged.
pub fn create_at_once(world: &World, name: &str) -> bool {
    let parent = &world.agent_id;
    let entry = serde_json::json!([{
        "id": name, "spiffe_id": format!("spiffe://example.org/{name}"), "parent_id": parent,
        "selectors": ["unix:uid:1"]
    }]);
    let body = entry[0].to_string();
    let head = "host: localhost\r\nconnection: close\r\ncontent-type: application/json";
    let request = format!("POST /v1/entries HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    raw(&mut unix(&world.path("s/api.sock")), &request).starts_with("HTTP/1.1 201")
}

/// How many leaves each of these entries has, of its creation and of its deletion.
pub fn changes(world: &World, names: &[String]) -> Vec<usize> {
    let leaves = world.leaves("entry-change");
    names.iter().map(|name| leaves.iter().filter(|leaf| leaf["entry"] == name.as_str()).count()).collect()
}

/// A change is durable with its leaf, and answered. While the log takes none, the next are refused, so that what waits
/// is bounded; what takes a right away is not.
#[test]
fn law_l5_changes_wait_for_the_log_and_appear_once() {
    let shim = Shim::new();
    let mut world = World::with_environment(&[], shim.environment(), vec![]);
    assert!(create_at_once(&world, "before"));
    shim.set(0, 0, Full::Log);
    let mut created = vec!["before".to_owned()];
    let refused = eventually("a change is refused", || {
        let name = format!("waits{}", created.len());
        if create_at_once(&world, &name) {
            created.push(name);
            return None;
        }
        Some(name)
    });
    let (_, _, why) = world.sekisho(&[
        "entry",
        "create",
        "--spiffe-id",
        "spiffe://example.org/later",
        "--parent-id",
        &world.agent_id,
        "--selector",
        "unix:uid:1",
    ]);
    assert!(why.contains("its log says why"), "{why}");
    let ready = readiness(&world);
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("ledger"), "{ready}");
    world.text(&["entry", "delete", "before"]);
    shim.set(0, 0, Full::None);
    eventually("the log takes them", || create_at_once(&world, "after").then_some(()));
    created.push("after".into());
    let expected: Vec<usize> = created.iter().map(|name| if name == "before" { 2 } else { 1 }).collect();
    eventually("all are in the log", || {
        (changes(&world, &created).iter().sum::<usize>() > created.len()).then_some(())
    });
    assert_eq!(changes(&world, &created), expected);
    drop(world.server.take());
    world.start_server();
    assert_eq!(changes(&world, &created), expected, "after a restart");
    assert_eq!(changes(&world, &[refused]), [0]);
}

#[test]
fn readiness_reports_a_read_only_database() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    eventually("the server is ready", || readiness(&world).starts_with("HTTP/1.1 200").then_some(()));
    shim.set(0, 0, Full::Database);
    assert!(!create_at_once(&world, "refused"));
    let failing = readiness(&world);
    assert!(failing.starts_with("HTTP/1.1 503") && failing.contains("store"), "{failing}");
    // Not only because a caller's change failed: it is looked at again and again.
    std::thread::sleep(Duration::from_secs(3));
    assert!(readiness(&world).starts_with("HTTP/1.1 503"));
    shim.set(0, 0, Full::None);
    eventually("the server is ready again", || readiness(&world).starts_with("HTTP/1.1 200").then_some(()));
    assert!(create_at_once(&world, "taken"));
    assert_eq!(changes(&world, &["refused".into()]), [0]);
}

/// The kernel reports an error of the disk once; what was not written stays in its page cache, and the next sync
/// succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn law_l5_after_a_failed_sync_the_log_continues() {
    let shim = Shim::new();
    let mut world = World::with_environment(&[], shim.environment(), vec![]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/eio").await;
    let wal = world.path("s/ledger/wal");
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&wal).unwrap());
    let (mut issued, mut refused) = (vec![], 0);
    for serial in 1..=6 {
        issued.push(peer.issue(&entry).await.unwrap());
        let before = inode();
        // The write-ahead file's, then those of the files that take its place.
        shim.fail_syncs(serial, serial);
        for _ in 0..50 {
            match peer.issue(&entry).await {
                Ok(found) => issued.push(found),
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                    refused += 1;
                }
            }
            if inode() != before && issued.len() > 2 * serial as usize - 1 {
                break;
            }
        }
        assert_ne!(inode(), before, "an inode whose sync failed is believed");
    }
    assert!(refused >= 6 && issued.len() >= 12, "{refused} refused, {} issued", issued.len());
    shim.fail_syncs(0, 0);
    world.server.take().unwrap().kill();
    world.start_server();
    let leaves = world.leaves("issuance");
    for (serial, _) in issued {
        assert!(
            leaves.iter().any(|leaf| leaf["id"] == format!("iss_{serial}")),
            "{serial} was issued and is not logged"
        );
    }
    let data = world.path("s").display().to_string();
    assert_eq!(world.json(&["ledger", "fsck", "--data", &data])["damage"], serde_json::json!([]));
}

/// SQLite leaves what a failed commit wrote in its write-ahead log; a whole transaction is there for the next start to
/// find.
#[test]
fn law_l5_a_refused_change_does_not_reappear() {
    let shim = Shim::new();
    let mut world = World::with_environment(&[], shim.environment(), vec![]);
    let created = |world: &World, path: &str| {
        let (id, parent) = (format!("spiffe://example.org{path}"), world.agent_id.clone());
        world.sekisho(&["entry", "create", "--spiffe-id", &id, "--parent-id", &parent, "--selector", "unix:uid:77"])
    };
    let mut refused = vec![];
    for serial in 1..=3 {
        for attempt in 0..20 {
            let path = format!("/own/refused-{serial}-{attempt}");
            // One more would be that of what takes it back.
            shim.fail_database_syncs(1, serial * 100 + attempt);
            if created(&world, &path).0 != 0 {
                refused.push(path);
                break;
            }
        }
        assert_eq!(refused.len(), serial as usize, "no commit failed");
        // At once, before another commit takes its place.
        world.server.take().unwrap().kill();
        shim.fail_database_syncs(0, 0);
        world.start_server();
        let listed = world.text(&["entry", "list"]);
        assert!(refused.iter().all(|path| !listed.contains(path)), "{refused:?} are refused: {listed}");
    }
    // A server that goes on takes further changes.
    let failed = (0..40).find(|attempt| {
        // The sync that fails may be another commit's: that of the agent, which comes back.
        shim.fail_database_syncs(1, 900 + attempt);
        created(&world, &format!("/own/next-{attempt}")).0 != 0
    });
    assert!(failed.is_some(), "no commit failed");
    shim.fail_database_syncs(0, 0);
    assert_eq!(created(&world, "/own/after").0, 0);
    // The disk does not come back: what became of the change is not known, and the server says that it is not ready.
    shim.fail_database_syncs(1000, 1000);
    let (code, _, error) = created(&world, "/own/unknown");
    assert!(code != 0, "{error}");
    let readiness =
        || raw(&mut unix(&world.path("s/api.sock")), "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    eventually("the server is not ready", || readiness().contains("\"store\"").then_some(()));
}

/// The files below a folder that hold one of these words, by a search of every byte.
fn files_with(folder: &Path, words: &[String]) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_with(&path, words));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let holds = |word: &String| bytes.windows(word.len()).any(|window| window == word.as_bytes());
            if words.iter().any(holds) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_a_full_disk_keeps_serving() {
    let shim = Shim::new();
    let world = World::with_environment(&[], vec![], shim.environment());
    let held = world.register("/own/full", &World::own_selectors());
    let first = svid(&world).await.unwrap();
    shim.set(0, 0, Full::All);
    assert_eq!(svid(&world).await, Some(first));
    world.text(&["entry", "delete", &held]);
    // Refused, and the log has no space for the refusal.
    let mut refused = 0;
    for _ in 0..50 {
        refused += u32::from(svid(&world).await.is_none());
        if refused > 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused > 3);
    shim.set(0, 0, Full::None);
    assert!(svid(&world).await.is_none());
    eventually("what it could not keep is counted", || {
        let lost: u64 = world.leaves("gap").iter().filter_map(|gap| gap["lost"].as_u64()).sum();
        let listed = world.json(&["decisions", "--effect", "refusal"]);
        (lost >= 3 && !listed.as_array()?.is_empty()).then_some(())
    });
    world.register("/own/again", &World::own_selectors());
    assert!(svid(&world).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_apply_at_once_on_slow_disks() {
    let shim = Shim::new();
    let world = World::with_environment(&[], shim.environment(), vec![]);
    let peer = Attested::new(&world).await;
    let entry = peer.entry(&world, "/own/slow").await;
    shim.set(0, 2000, Full::None);
    let began = Instant::now();
    let many = (0..20).map(|_| peer.issue(&entry));
    let issued = futures_util::future::join_all(many).await;
    assert!(issued.iter().all(Result::is_ok), "{issued:?}");
    // Durable before it is answered; and all of them behind a few fsyncs.
    assert!(began.elapsed() >= Duration::from_secs(2));
    let indexes: std::collections::BTreeSet<u64> = issued.into_iter().map(|one| one.unwrap().1).collect();
    assert_eq!(indexes.len(), 20);
    world.text(&["agents", "ban", &peer.id]);
    shim.set(0, 0, Full::None);
    assert_eq!(peer.issue(&entry).await.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hours_clock_jump_removes_no_identity() {
    for (who, seconds) in [("agent", 3600), ("agent", -3600), ("server", 3600), ("server", -3600)] {
        let shim = Shim::new();
        let mut environments = (vec![], vec![]);
        if who == "server" { &mut environments.0 } else { &mut environments.1 }.extend(shim.environment());
        // SVIDs that outlive the jump: what is held must go on serving, and nothing else is asked for.
        let world = World::with_environment(&["--x509-ttl", "86400s"], environments.0, environments.1);
        world.register("/own/clock", &World::own_selectors());
        let first = svid(&world).await.unwrap();
        shim.set(seconds, 0, Full::None);
        let held = svid(&world).await;
        assert_eq!(held.as_ref(), Some(&first), "{who} {seconds}");
        let peer = Attested::new(&world).await;
        let entry = peer.entry(&world, "/own/differs").await;
        if who == "server" {
            let refused = peer.issue(&entry).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
            world.log_says("clock");
        }
        shim.set(0, 0, Full::None);
        assert_eq!(svid(&world).await, Some(first), "{who} {seconds}, and back");
        world.register("/own/after", &["unix:uid:99".to_owned()]);
        // New ones were not to be had while the clocks differed, and are now.
        world.register("/own/later", &World::own_selectors());
        let mut client = SpiffeWorkloadApiClient::new(sekisho_sdk::agent_channel(&world.agent_socket()));
        let answer = client.fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner().message().await;
        assert_eq!(answer.unwrap().unwrap().svids.len(), 2, "{who} {seconds}");
        assert!(world.json(&["agents", "list"]).to_string().contains(&world.agent_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_deletes_expired_objects_and_openings() {
    let shim = Shim::new();
    let keep = ["--keep-expired", "30d", "--keep-openings", "30d"];
    let mut world = World::with_environment(&keep, shim.environment(), vec![]);
    let in_an_hour = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3600;
    let mut registry = EntryClient::new(sekisho_net::grpc_over_unix(world.path("s/api.sock")));
    let id = |path: String| Some(types::Spiffeid { trust_domain: "example.org".into(), path });
    let entry = |n: i64| types::Entry {
        spiffe_id: id(format!("/old/e{n}")),
        parent_id: id("/old/node".into()),
        selectors: vec![types::Selector { r#type: "unix".into(), value: format!("uid:{n}") }],
        // One that ends, among those that do not.
        expires_at: if n == 0 { i64::try_from(in_an_hour).unwrap() } else { 0 },
        ..Default::default()
    };
    let request = BatchCreateEntryRequest { entries: (0..300).map(entry).collect(), output_mask: None };
    registry.batch_create_entry(request).await.unwrap();
    let banned = Attested::new(&world).await;
    world.text(&["agents", "ban", &banned.id]);
    world.text(&["prove", "5", "--file", "before", "--trust-policy", "trust"]);
    let opened = |file: &str| world.json(&["verify", file, "--trust-policy", "trust"])["opened"].clone();
    assert!(!opened("before").as_object().unwrap().is_empty());
    assert_eq!(world.json(&["agents", "list"]).as_array().unwrap().len(), 2);
    // What opens the leaves of the first bundle: the nonces stand nowhere but there.
    let side = eventually("the first bundle is on disk", || std::fs::read(world.path("s/ledger/side/000")).ok());
    let side = String::from_utf8_lossy(&side).into_owned();
    let nonces: Vec<String> =
        side.split("\"nonce\":\"").skip(1).map(|rest| rest[..64].to_owned()).step_by(16).collect();
    assert!(nonces.len() > 10 && !files_with(&world.path("s"), &nonces).is_empty());
    drop(world.server.take());
    let forty_days = 40 * 24 * 3600;
    shim.set(forty_days, 0, Full::None);
    world.start_server();
    let world = &world;
    // A clock that is forty days ahead may as well be wrong: nothing is forgotten yet.
    let said = || world.server.as_ref().unwrap().stderr();
    eventually("it says that the clock is ahead", || said().contains("ahead of what retention believes").then_some(()));
    assert_eq!(world.json(&["agents", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(world.json(&["entry", "list"]).as_array().unwrap().len(), 300);
    // It catches up at a day in an hour. A round that runs meanwhile is followed by a pause: the machine runs on
    // through that as well.
    let mut hours = 41;
    eventually("the expired agent is deleted, the banned one is not", || {
        shim.run_on(hours * 3600, forty_days);
        hours += 1;
        let agents = world.json(&["agents", "list"]);
        let agents = agents.as_array().unwrap();
        (agents.len() == 1 && agents[0]["id"] == banned.id.as_str()).then_some(())
    });
    let entries = world.json(&["entry", "list"]);
    let ids: Vec<&str> = entries.as_array().unwrap().iter().filter_map(|entry| entry["spiffe_id"].as_str()).collect();
    assert!(ids.len() == 299 && !ids.contains(&"spiffe://example.org/old/e0"), "{}", ids.len());
    eventually("openings of the first bundle are gone", || {
        let side = std::fs::read(world.path("s/ledger/side/000")).ok()?;
        side.iter().all(|byte| *byte == 0).then_some(())
    });
    world.text(&["prove", "5", "--file", "after", "--trust-policy", "trust"]);
    let opened = |file: &str| world.json(&["verify", file, "--trust-policy", "trust"])["opened"].clone();
    assert!(opened("after").as_object().is_none_or(serde_json::Map::is_empty), "{}", opened("after"));
    eventually("and the log says so", || {
        world.leaves("key-event").iter().any(|l| l["event"] == "openings erased").then_some(())
    });
    eventually("the nonces stand nowhere on disk", || files_with(&world.path("s"), &nonces).is_empty().then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_agent_catches_up_after_reconnecting() {
    let mut world = World::start();
    let link = Link::new(&world.address);
    world.agent.take().unwrap().kill();
    let server = std::mem::replace(&mut world.address, link.address.clone());
    world.start_agent();
    world.register("/own/link", &World::own_selectors());
    let first = svid(&world).await.unwrap();
    link.cut(true);
    let entry = world.json(&[
        "entry",
        "create",
        "--spiffe-id",
        "spiffe://example.org/own/cut",
        "--parent-id",
        &world.agent_id,
        "--selector",
        "unix:uid:97",
    ]);
    assert_eq!(svid(&world).await, Some(first), "what is held serves on");
    link.cut(false);
    eventually("the agent hears of what it missed", || {
        let why = world.json(&["why", "identity", "--selectors", "unix:uid:97"]);
        why["matched"].as_array()?.iter().any(|found| found["id"] == entry["id"]).then_some(())
    });
    world.address = server;
}

/// A TCP relay that can stop passing bytes without closing anything.
struct Link {
    address: String,
    cut: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Link {
    fn new(to: &str) -> Self {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cut = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (to, closed) = (to.to_owned(), cut.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = std::net::TcpStream::connect(&to).unwrap();
                for (mut from, mut onto) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let closed = closed.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0u8; 16_384];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            while closed.load(std::sync::atomic::Ordering::Relaxed) {
                                std::thread::sleep(Duration::from_millis(20));
                            }
                            if onto.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _closed = onto.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, cut }
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Connections that say nothing are let go, and meanwhile others are served.
#[tokio::test(flavor = "multi_thread")]
async fn law_l9_silent_connections_starve_no_other() {
    let world = World::start();
    world.register("/own/silent", &World::own_selectors());
    let sockets: [&Path; 2] = [&world.path("s/api.sock"), &world.agent_socket()];
    let mut silent = vec![];
    for socket in sockets {
        silent.extend((0..200).map(|_| std::os::unix::net::UnixStream::connect(socket).unwrap()));
    }
    let address: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(&world.address).unwrap()).collect();
    assert!(svid(&world).await.is_some());
    world.text(&["agents", "list"]);
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = std::io::Read::read(&mut stream, &mut [0u8; 64]);
        assert!(matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock), "still open");
    }
    for mut stream in address {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let read = std::io::Read::read(&mut stream, &mut [0u8; 64]);
        assert!(matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock), "still open");
    }
}
