//! The log, read from disk after everything has ended: law L5, and that it only ever grew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sekisho_disk::Ledger;
use sekisho_events::{Event, Leaf};
use sekisho_keys::load;
use sekisho_ledger::{Checkpoint, Frontier, TILE_WIDTH, TrustPolicy, leaf_hash};
use sekisho_types::{Digest, SignatureAlgorithm};

use super::model::Model;

/// Opens the server's log and holds it against what others saw of it and hold from it.
pub(super) fn check(data: &Path, model: &Model) -> Result<u64, String> {
    let folder = data.join("ledger");
    let origin = std::fs::read(folder.join("origin")).map_err(|error| format!("origin: {error}"))?;
    let origin: serde_json::Value = serde_json::from_slice(&origin).map_err(|error| error.to_string())?;
    let origin = origin["origin"].as_str().unwrap_or_default();
    let key = load(&data.join("keys/log.key"), SignatureAlgorithm::Ed25519).map_err(|error| error.to_string())?;
    let (ledger, recovered) = Ledger::open(&folder, origin, Arc::new(key)).map_err(|error| error.to_string())?;
    let leaves = leaves(&ledger, recovered.size)?;
    roots(&ledger, &leaves, model)?;
    let mut issued = BTreeMap::new();
    let mut attested = 0u64;
    for (index, bytes) in (0u64..).zip(&leaves) {
        let leaf = Leaf::decode(bytes).map_err(|error| format!("leaf {index}: {error}"))?;
        match leaf.event {
            Event::X509Issued(event) => drop(issued.insert(event.tbs_sha256, index)),
            Event::Attested(_) => attested += 1,
            _ => {}
        }
    }
    let known = model.known();
    for svid in &known.issued {
        let leaf = issued.get::<Digest>(&svid.tbs_sha256).copied();
        match (leaf, svid.log_index) {
            (None, _) => return Err(format!("L5: {} holds an SVID that has no leaf ({:?})", svid.to, svid.log_index)),
            (Some(leaf), Some(index)) if leaf != index => {
                return Err(format!("L5: {} was told leaf {index} for an SVID whose leaf is {leaf}", svid.to));
            }
            _ => {}
        }
    }
    let acknowledged = known.spent.values().map(|count| u64::from(*count)).sum::<u64>();
    if attested < acknowledged {
        return Err(format!("L5: {acknowledged} attestations were acknowledged, {attested} are in the log"));
    }
    Ok(recovered.size)
}

fn leaves(ledger: &Ledger, size: u64) -> Result<Vec<Vec<u8>>, String> {
    let mut leaves = vec![];
    for number in 0..size.div_ceil(TILE_WIDTH) {
        let bundle = ledger.bundle(number, size).ok_or_else(|| format!("bundle {number} cannot be read"))?;
        leaves.extend(bundle.into_iter().map(|entry| entry.leaf));
    }
    Ok(leaves)
}

/// Each checkpoint that anybody saw is of a beginning of the log as it is now: so any two are consistent.
fn roots(ledger: &Ledger, leaves: &[Vec<u8>], model: &Model) -> Result<(), String> {
    let policy = TrustPolicy::parse(&format!("log {}\nquorum none\n", ledger.verifier())).map_err(|e| e.to_string())?;
    let mut seen = BTreeMap::new();
    for note in &model.known().checkpoints {
        let Checkpoint { size, root, .. } = policy.verify(note).map_err(|error| format!("a checkpoint: {error}"))?;
        if seen.insert(size, root).is_some_and(|other| other != root) {
            return Err(format!("two checkpoints of size {size} have different roots"));
        }
    }
    let mut frontier = Frontier::default();
    let mut check = |frontier: &Frontier| match seen.remove(&frontier.size()) {
        Some(root) if frontier.size() > 0 && root != frontier.root() => {
            Err(format!("L5: the log was changed before {}", frontier.size()))
        }
        _ => Ok(()),
    };
    check(&frontier)?;
    for leaf in leaves {
        frontier.push(leaf_hash(leaf), |_, _, _| ());
        check(&frontier)?;
    }
    match seen.keys().next_back() {
        Some(size) => {
            Err(format!("L5: a checkpoint of size {size} was seen, and the log has {} entries", leaves.len()))
        }
        None => Ok(()),
    }
}
