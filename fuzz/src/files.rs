//! Targets that read files: what a crash, a disk or a process left in them.

use sekisho_disk::{IndexedRecord, Ledger, SealedBy, SealedCache, Segments, Spool};
use sekisho_host::proc_text;
use sekisho_keys::MemoryKey;
use sekisho_types::{Secret, SignatureAlgorithm};

use crate::targets::{outcome, text};

pub(crate) fn wal_samples() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1000, "s").unwrap();
    spool.append(&["one".into(), "two".into(), "three".into()]).unwrap();
    vec![std::fs::read(folder.path().join("spool")).unwrap()]
}

pub(crate) fn write_ahead_file(input: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("id"), "s").unwrap();
    std::fs::write(folder.path().join("spool"), input).unwrap();
    outcome(Spool::open(folder.path(), 1000, "s").map(|spool| spool.depth()))
}

pub(crate) fn proc_samples() -> Vec<Vec<u8>> {
    let of_own = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap_or_default();
    vec![of_own("stat"), of_own("status"), b"root:x:0:0::/:/bin/sh\n".to_vec()]
}

/// What a process can write into its own files below /proc never becomes another process's.
pub(crate) fn proc(input: &[u8]) -> String {
    let text = text(input);
    let field = proc_text::stat_field(&text, 19);
    if let Some(start) = field {
        let named = format!("1 ({text}) S 1 2 3");
        assert_eq!(
            proc_text::stat_field(&named, 1),
            Some(1),
            "a command's name is not a field, although it holds {start}"
        );
    }
    let credentials = proc_text::credentials(&text).is_some();
    let users = proc_text::all_users(&text).len();
    format!("{} {credentials} {users} {}", field.is_some(), proc_text::name_of(&text, 0).is_some())
}

pub(crate) fn stored(input: &[u8]) -> String {
    outcome(sekisho_proxy::stored_policy(input))
}

fn sealing_key() -> Secret<Vec<u8>> {
    Secret::new(vec![7; 32])
}

pub(crate) fn sealed(plain: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    SealedCache::new(&path, &sealing_key(), SealedBy::KeyFile).unwrap().store(plain).unwrap();
    std::fs::read(&path).unwrap()
}

pub(crate) fn sealed_cache(input: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    std::fs::write(&path, input).unwrap();
    let opened = SealedCache::new(&path, &sealing_key(), SealedBy::KeyFile).unwrap().load().map_err(|error| {
        // The folder's name is another one each time.
        error.to_string().replace(&path.display().to_string(), "cache")
    });
    if let Ok(Some(plain)) = &opened {
        assert_eq!(plain.expose(), b"what an agent knows", "what was changed does not open");
    }
    outcome(opened)
}

/// Another reporter's than the one that appends.
const SEGMENT: &str = "00000000000000aa-1.0000000000000000.open";

pub(crate) fn segment_samples() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let segments = Segments::open(folder.path(), KEPT).unwrap();
    for key in 1..4 {
        segments
            .append(
                "a",
                key,
                &[IndexedRecord { key: u128::from(key), class: 1, record: format!("record {key}").into() }],
            )
            .unwrap();
    }
    files_below(folder.path()).into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

const KEPT: u64 = 1 << 30;

/// A damaged segment shows what is whole in it, and takes records as before.
pub(crate) fn segment(input: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(SEGMENT), input).unwrap();
    let segments = match Segments::open(folder.path(), KEPT) {
        Ok(segments) => segments,
        Err(error) => return error.to_string().replace(&folder.path().display().to_string(), ""),
    };
    let kept = IndexedRecord { key: 1 << 100, class: 0, record: "new".into() };
    segments.append("a", 9, std::slice::from_ref(&kept)).unwrap();
    assert_eq!(segments.find(kept.key, |_| true).map(|(found, _)| found.kept), Some(kept));
    format!("{} records", segments.newest(None, u128::MAX, 10).len())
}

/// Damages one file of a small log: it opens unharmed, or refuses with a reason; it never forgets in silence.
pub(crate) fn ledger_tiles(input: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let key: std::sync::Arc<dyn sekisho_types::Signer> =
        std::sync::Arc::new(MemoryKey::generate(SignatureAlgorithm::Ed25519).unwrap());
    let open = || Ledger::open_with(folder.path(), "fuzz", key.clone(), 1);
    let size = {
        let (ledger, _) = open().unwrap();
        let entry = |n: u8| sekisho_disk::NewEntry { leaf: vec![n; 20], side: vec![] };
        let mut append = std::pin::pin!(ledger.append((0..5).map(entry).collect()));
        block_on(append.as_mut()).unwrap();
        block_on(std::pin::pin!(ledger.checkpoint_covering(4)).as_mut()).unwrap().0
    };
    let mut files: Vec<_> = files_below(folder.path());
    files.sort();
    let byte = |at: usize| input.get(at).copied().unwrap_or_default();
    let file = &files[usize::from(byte(0)) % files.len()];
    let mut bytes = std::fs::read(file).unwrap();
    let at = usize::from(u16::from_be_bytes([byte(1), byte(2)])) % (bytes.len() + 1);
    match byte(3) % 3 {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte(4)),
        _ => {
            if let Some(found) = bytes.get_mut(at) {
                *found ^= byte(4) | 1;
            }
        }
    }
    // The old writer may still hold the lock for a moment.
    while matches!(open().as_ref().err(), Some(sekisho_disk::DiskError::InUse(_))) {
        std::thread::yield_now();
    }
    std::fs::write(file, bytes).unwrap();
    let opened = loop {
        match open() {
            Err(sekisho_disk::DiskError::InUse(_)) => std::thread::yield_now(),
            other => break other,
        }
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match opened {
        Ok((ledger, recovered)) => {
            assert!(recovered.size >= size, "{name}: entries are missing and nothing was reported");
            // What is read is what was written, or nothing.
            let root = ledger.root(size);
            for index in 0..size {
                let entry = ledger.entry(index, size);
                let path = ledger.path(index, size).ok();
                if let (Some(entry), Some(path), Some(root)) = (entry, path, root) {
                    let leaf = sekisho_ledger::leaf_hash(&entry.leaf);
                    let holds = sekisho_ledger::verify_inclusion(index, size, &leaf, &path, &root).is_ok();
                    assert!(!holds || entry.leaf == vec![u8::try_from(index).unwrap(); 20], "{name}: another entry");
                }
            }
            format!("{name} opens")
        }
        Err(error) => format!("{name} {}", error.to_string().rsplit('/').next().unwrap_or_default()),
    }
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn block_on<F: Future>(mut future: std::pin::Pin<&mut F>) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// An entry as the server's database holds it.
pub(crate) fn stored_entry() -> Vec<u8> {
    let wire = sekisho_proto::types::Entry {
        spiffe_id: Some(sekisho_proto::types::Spiffeid { trust_domain: "td.example".into(), path: "/a".into() }),
        parent_id: Some(sekisho_proto::types::Spiffeid { trust_domain: "td.example".into(), path: "/n".into() }),
        selectors: vec![sekisho_proto::types::Selector { r#type: "unix".into(), value: "uid:1".into() }],
        ..Default::default()
    };
    let entry = sekisho_proto::entry_from_wire(&wire, &sekisho_types::EntryId::parse("e").unwrap(), None).unwrap();
    sekisho_identity::entry_record(&entry).into_bytes()
}

/// What an agent keeps, with nothing held yet.
pub(crate) const STORED_REVOCATION: &str = r#"{"kind":"entry","value":"ent_1",
  "spiffe_id":"spiffe://fuzz.internal/svc/gateway","revision":7,"at":1,"until":2,"reason":"was deleted"}"#;
pub(crate) const AGENT_CACHE: &str = r#"{"own":{"id":"spiffe://td.example/spire/agent/a","chain":["00"],"key":"00","not_before":0,
    "not_after":1},"revision":1,"bundle":"0a0a74642e6578616d706c65","entries":[],"policy":null,"held":[]}"#;
