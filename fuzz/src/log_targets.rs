//! What others send us about logs: consistency proofs, paths of tiles, URLs of witnesses.

use std::sync::LazyLock;

use sekisho_ledger::{ConsistencyProof, TileRequest, TrustPolicy};

use crate::samples::LOG;
use crate::targets::{outcome, text};

static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| TrustPolicy::parse(&LOG.policy).unwrap());

pub(crate) fn consistency_samples() -> Vec<Vec<u8>> {
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    vec![
        format!("old 1\n\n{}", LOG.checkpoint).into_bytes(),
        format!("old 1\n{hash}\n{hash}\n\n{}", LOG.checkpoint).into_bytes(),
    ]
}

/// One proof has one form, and none shows that a log of one leaf began with another.
pub(crate) fn consistency(input: &[u8]) -> String {
    let text = text(input);
    let proof = match ConsistencyProof::parse(&text) {
        Ok(proof) => proof,
        Err(error) => return error.to_string(),
    };
    assert_eq!(proof.to_string(), text, "a proof has one form");
    let Ok(newest) = POLICY.verify(&proof.checkpoint) else { return "not trusted".into() };
    let other = sekisho_ledger::Checkpoint { root: [7; 32], ..newest };
    let shown = proof.verify(&other, &POLICY);
    assert!(shown.is_err(), "two histories of one log");
    outcome(shown)
}

pub(crate) fn tile_samples() -> Vec<Vec<u8>> {
    ["0/000", "entries/x001/x234/067.p/8", "7/x001/000.p/255"].map(|path| path.as_bytes().to_vec()).to_vec()
}

/// What is read names a file below the log's tiles, by its own path.
pub(crate) fn tile(input: &[u8]) -> String {
    let path = text(input);
    let Some(request) = TileRequest::parse(&path) else { return "no tile".into() };
    for size in [0, 1, 300, 1 << 20, u64::MAX] {
        let stored = request.stored(size).map(|stored| stored.path).unwrap_or_default();
        assert!(!stored.contains("..") && (stored.is_empty() || stored.starts_with("tile/")), "{stored}");
    }
    format!("{:?} {}", request.level, request.width == 256)
}

pub(crate) fn prefix(input: &[u8]) -> String {
    outcome(
        sekisho_net::WebPrefix::parse(&text(input))
            .map_err(|error| error.split("` ").last().unwrap_or_default().to_owned()),
    )
}
