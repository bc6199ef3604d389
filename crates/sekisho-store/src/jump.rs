//! Revisions that leave a gap: beyond all that may have been given out by a state that is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sekisho_types::Revision;

use crate::{Batch, Reader, StoreError};

/// How far revisions jump: further than any that was given out since the copy was taken.
const JUMP: i64 = 1 << 32;

/// Prepares a database that was restored: its join tokens are unknown, its next revision lies beyond all earlier ones, and so
/// does that of its policy: sidecars take no older one than they hold. The log has that policy under the revision without the
/// jump.
///
/// `replaced` is the database whose place it takes, if there is one, and `logged` the highest revision that the log speaks of: a
/// copy that is restored twice must not give out the same revisions twice, since a revocation concerns what was issued at
/// earlier ones.
pub fn begin_anew(path: &Path, replaced: Option<&Path>, logged: u64) -> Result<(), StoreError> {
    let floor = replaced.map_or(Ok(0), highest_revision)?.max(bounded(Revision(logged)));
    let connection = Connection::open(path)?;
    connection.execute("DELETE FROM tokens", [])?;
    connection.execute("UPDATE revisions SET revision = MAX(revision, ?2) + ?1", [JUMP, floor])?;
    connection.execute(
        "INSERT INTO policies (td, revision, digest, at_ms, files)
         SELECT td, MAX(MAX(revision), ?2) + ?1, digest, at_ms, files FROM policies GROUP BY td",
        [JUMP, floor],
    )?;
    // Nothing of it stays beside the file. Another connection of this process may be about to close.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match connection.pragma_update(None, "journal_mode", "DELETE") {
            Err(error) if is_busy(&error) && Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            ended => return Ok(ended?),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// The highest revision that a database gave out.
fn highest_revision(path: &Path) -> Result<i64, StoreError> {
    let connection = Connection::open(path)?;
    Ok(connection.query_row("SELECT COALESCE(MAX(revision), 0) FROM revisions", [], |row| row.get(0))?)
}

/// A revision that SQLite can count on from.
fn bounded(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX).min(1 << 62)
}

impl Batch<'_> {
    /// Takes a revision far beyond `floor` and beyond all before. The policy in force is stored under it again, since sidecars
    /// take no older one than they hold; revocations of revisions after `since` are renewed, since what they concern may have
    /// been issued at revisions up to `floor`.
    pub fn jump_beyond(&mut self, floor: Revision, since: Revision) -> Result<Revision, StoreError> {
        let sql = "INSERT INTO revisions (td, revision) VALUES (?1, ?2 + ?3)
                   ON CONFLICT (td) DO UPDATE SET revision = MAX(revision, ?2) + ?3 RETURNING revision";
        let td = self.trust_domain();
        let values = rusqlite::params![td.as_str(), bounded(floor), JUMP];
        let next: u64 = self.connection().prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        let next = Revision(next);
        self.take_revision(next);
        let reader = Reader::new(self.connection());
        let (policy, revocations) = (reader.policy(td, None)?, reader.revocations(td)?);
        if let Some(mut policy) = policy {
            policy.revision = next.0;
            self.put_policy(&policy, u32::MAX)?;
        }
        for mut revocation in revocations.into_iter().filter(|one| one.revision > since) {
            revocation.revision = next;
            self.put_revocation(revocation)?;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use sekisho_identity::Revoked;
    use sekisho_types::{SpiffeId, TrustDomain, UnixTime};

    use super::*;
    use crate::{Change, Store};

    #[test]
    fn the_policy_of_a_restored_copy_is_newer_than_any_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(Store::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.execute("INSERT INTO revisions VALUES ('example.org', 9)", []).unwrap();
        for (revision, digest) in [(3, "11"), (7, "22")] {
            let row = (revision, digest.repeat(32));
            connection.execute("INSERT INTO policies VALUES ('example.org', ?1, ?2, 0, '[]')", row).unwrap();
        }
        drop(connection);
        begin_anew(&path, None, 0).unwrap();
        let store = Store::open(&path).unwrap();
        let name = sekisho_types::TrustDomain::parse("example.org").unwrap();
        let (policy, revision) =
            store.read(|reader| Ok((reader.policy(&name, None)?.unwrap(), reader.revision(&name)?))).unwrap();
        assert_eq!((policy.revision, policy.digest.to_string()), (7 + (1 << 32), "22".repeat(32)));
        assert!(policy.revision <= revision.0);
        assert!(store.read(|reader| reader.policy(&name, Some(7))).unwrap().is_some(), "records cite it");
        // The same copy again, in the place of the database that was restored from it.
        let again = folder.path().join("again.db");
        drop(Store::open(&again).unwrap());
        let connection = Connection::open(&again).unwrap();
        connection.execute("INSERT INTO revisions VALUES ('example.org', 9)", []).unwrap();
        drop(connection);
        begin_anew(&again, Some(&path), 0).unwrap();
        let second = Store::open(&again).unwrap().read(|reader| reader.revision(&name)).unwrap();
        assert!(second.0 > revision.0, "{} after {}", second.0, revision.0);
    }

    #[tokio::test]
    async fn law_l6_what_was_revoked_since_holds_beyond_the_jump() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        let name = TrustDomain::parse("example.org").unwrap();
        let at = UnixTime::from_seconds(1_800_000_000);
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let revoke = |path: &str| {
            let what = Revoked::SpiffeId(id(path));
            store.write::<_, StoreError>(&name, move |batch| {
                batch.revoke(what, "was deleted", at, at.plus_seconds(9000))?;
                batch.revision()
            })
        };
        let before = revoke("/before").await.unwrap();
        revoke("/since").await.unwrap();
        let (jumped, changes) = store
            .write::<_, StoreError>(&name, move |batch| {
                let jumped = batch.jump_beyond(Revision(500), before)?;
                Ok((jumped, batch.changes.iter().filter(|change| matches!(change, Change::Revoked(_))).count()))
            })
            .await
            .unwrap();
        assert!(jumped.0 > 500 && changes == 1, "{jumped:?}, {changes}");
        let revocations = store.read(|reader| reader.revocations(&name)).unwrap();
        let of = |path: &str| revocations.iter().find(|one| one.what == Revoked::SpiffeId(id(path))).unwrap().revision;
        assert_eq!((of("/before"), of("/since")), (before, jumped));
        let next = store.write::<_, StoreError>(&name, |batch| batch.revision()).await.unwrap();
        assert_eq!(next.0, jumped.0 + 1);
    }
}
