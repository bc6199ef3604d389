//! Revocations on the sidecar's disk, over a restart.

use std::path::PathBuf;

use sekisho_disk::write_atomic;
use sekisho_identity::Revocations;
use sekisho_proto::{revocations_from_bytes, revocations_to_bytes};
use sekisho_runtime::now;
use sekisho_sdk::RevocationKeeper;

pub(crate) fn open(path: PathBuf) -> RevocationKeeper {
    let kept = match std::fs::read(&path) {
        Ok(bytes) => revocations_from_bytes(&bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Revocations::default()),
        Err(error) => Err(error.to_string()),
    };
    let kept = kept.unwrap_or_else(|reason| {
        tracing::error!(reason, "the revocations on disk are not readable; those that the agent sends count");
        Revocations::default()
    });
    RevocationKeeper::new(kept, now, move |all| {
        if let Err(error) = write_atomic(&path, &revocations_to_bytes(all)) {
            tracing::error!(%error, "the revocations were not kept on disk; a restart without the agent would not know \
                them");
        }
    })
}

#[cfg(test)]
mod tests {
    use sekisho_identity::{LeafFacts, Revocation, Revoked};
    use sekisho_proto::node::WatchRevocationsResponse;
    use sekisho_proto::revocation_to_wire;
    use sekisho_types::{Claims, Revision, SpiffeId, UnixTime};

    use super::*;

    fn leaf(path: &str) -> LeafFacts {
        LeafFacts {
            spiffe_id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
            not_before: now().plus_seconds(-60),
            not_after: now().plus_seconds(60),
            serial: "01".into(),
            claims: Claims::default(),
            issuance: None,
            public_key: vec![],
        }
    }

    fn message(path: &str, until: UnixTime) -> WatchRevocationsResponse {
        let revocation = Revocation {
            what: Revoked::SpiffeId(leaf(path).spiffe_id),
            revision: Revision(2),
            at: now(),
            until,
            reason: "was revoked".into(),
        };
        WatchRevocationsResponse { revocations: vec![revocation_to_wire(&revocation)], more: false }
    }

    #[test]
    fn law_l14_revocations_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revocations");
        let keeper = open(path.clone());
        assert!(keeper.find(&leaf("/a")).is_some(), "nothing is known yet");
        keeper.take(&WatchRevocationsResponse::default());
        assert!(keeper.find(&leaf("/a")).is_none());
        keeper.take(&message("/a", now().plus_seconds(60)));
        // A stream that begins again takes nothing back.
        keeper.take(&WatchRevocationsResponse::default());
        keeper.take(&message("/b", now().plus_seconds(60)));
        let again = open(path.clone());
        again.take(&WatchRevocationsResponse::default());
        assert!(again.find(&leaf("/a")).unwrap().contains("`spiffe://example.org/a` was revoked (revision 2)"));
        assert!(again.find(&leaf("/b")).is_some() && again.find(&leaf("/c")).is_none());
        std::fs::write(&path, b"\xff").unwrap();
        let damaged = open(path);
        assert!(damaged.find(&leaf("/c")).is_some());
        damaged.take(&message("/a", now().plus_seconds(60)));
        assert!(damaged.find(&leaf("/a")).is_some() && damaged.find(&leaf("/c")).is_none());
    }

    #[test]
    fn revocations_of_expired_svids_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = open(folder.path().join("revocations"));
        keeper.take(&message("/old", now().plus_seconds(-7200)));
        keeper.take(&message("/new", now().plus_seconds(60)));
        assert!(keeper.find(&leaf("/old")).is_none() && keeper.find(&leaf("/new")).is_some());
    }
}
