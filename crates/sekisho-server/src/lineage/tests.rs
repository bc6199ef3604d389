use std::collections::BTreeMap;

use sekisho_disk::NewEntry;
use sekisho_ledger::TrustPolicy;

use super::*;

fn name() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// Appends leaves and returns the checkpoint that covers them.
async fn add(ledger: &Ledger, leaves: &[&str]) -> String {
    let entry = |leaf: &&str| NewEntry { leaf: leaf.as_bytes().to_vec(), side: vec![] };
    let first = ledger.append(leaves.iter().map(entry).collect()).await.unwrap();
    ledger.checkpoint_covering(first + leaves.len() as u64 - 1).await.unwrap().1.to_string()
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn each_log_keeps_its_own_origin() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let first = open(&a, &name()).unwrap();
    assert!(first.origin.starts_with("example.org/sekisho/"), "{}", first.origin);
    assert_ne!(open(&b, &name()).unwrap().origin, first.origin);
    add(&first.ledger, &["1"]).await;
    let origin = first.origin.clone();
    drop(first);
    let again = open_when_closed(&a, &name()).await.unwrap();
    assert_eq!((again.origin, again.recovered.size), (origin, 1));
}

#[tokio::test]
async fn waiting_for_a_log_blocks_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), &name()).unwrap();
    let origin = first.origin.clone();
    let closes = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(first);
    };
    let name = name();
    let (opened, ()) = tokio::join!(open_when_closed(folder.path(), &name), closes);
    assert_eq!(opened.unwrap().origin, origin);
}

#[tokio::test]
async fn an_earlier_releases_log_keeps_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    private_folder(&keys).unwrap();
    let key = load_or_create(&keys.join("log.key"), SignatureAlgorithm::Ed25519).unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("ledger"), "example.org/sekisho", Arc::new(key)).unwrap();
    add(&ledger, &["1", "2"]).await;
    drop(ledger);
    let opened = open_when_closed(folder.path(), &name()).await.unwrap();
    assert_eq!((opened.origin.as_str(), opened.recovered.size), ("example.org/sekisho", 2));
    let other = check_trust_domain(folder.path(), &TrustDomain::parse("example.com").unwrap()).unwrap_err();
    assert!(other.to_string().contains("`example.org/sekisho`, so it is not of trust domain `example.com`"), "{other}");
}

/// The attack: a log that lost its newest entries continues, and shows other entries to another reader.
#[tokio::test]
async fn a_new_log_never_forks_an_origin() {
    let folder = tempfile::tempdir().unwrap();
    let (data, old) = (folder.path().join("s"), folder.path().join("old"));
    let mut policy = String::new();
    let mut notes = vec![];
    let opened = open(&data, &name()).unwrap();
    notes.push(add(&opened.ledger, &["1", "2"]).await);
    copy(&data, &old);
    for leaf in ["3", "4"] {
        notes.push(add(&opened.ledger, &[leaf]).await);
    }
    policy.push_str(&format!("log {}\n", opened.ledger.verifier()));
    let lost = opened.origin.clone();
    drop(opened);
    // Restored twice, and stopped at the worst moment: the origin is replaced, the checkpoint is not.
    for round in ["a", "b"] {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&old, &data);
        start_new_origin(&data, &name(), open(&data, &name()).unwrap(), "test", "because").unwrap();
        let opened = open_when_closed(&data, &name()).await.unwrap();
        let earlier = opened.continues.unwrap();
        assert_eq!((earlier.origin, earlier.size), (lost.clone(), 2));
        for leaf in ["5", "6"] {
            notes.push(add(&opened.ledger, &[&format!("{round}{leaf}")]).await);
        }
        policy.push_str(&format!("log {}\n", opened.ledger.verifier()));
        drop(opened.ledger);
        let again = open_when_closed(&data, &name()).await.unwrap();
        assert_eq!(again.recovered.size, 4);
    }
    let policy = TrustPolicy::parse(&format!("{policy}quorum none\n")).unwrap();
    let mut roots = BTreeMap::new();
    for note in &notes {
        let checkpoint = policy.verify(note).unwrap();
        let before = roots.insert((checkpoint.origin.clone(), checkpoint.size), checkpoint.root);
        assert!(before.is_none_or(|root| root == checkpoint.root), "{checkpoint}");
    }
    assert_eq!(roots.len(), 7);
}
