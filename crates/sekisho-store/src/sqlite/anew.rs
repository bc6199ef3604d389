//! A database that takes the place of a state that is lost: its revisions leave a gap, beyond all that may have been
//! given out.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use sekisho_ports::instant;
use sekisho_types::Revision;

use super::reads::bounded;
use crate::StoreError;
use crate::execute::JUMP;

/// Prepares a database that was restored: its join tokens are unknown, its next revision lies beyond all earlier ones,
/// and so does that of its policy: sidecars take no older one than they hold. The log has that policy under the
/// revision without the jump.
///
/// `replaced` is the database whose place it takes, if there is one, and `logged` the highest revision that the log
/// speaks of: a copy that is restored twice must not give out the same revisions twice, since a revocation concerns
/// what was issued at earlier ones.
pub fn start_new_epoch(path: &Path, replaced: Option<&Path>, logged: u64) -> Result<(), StoreError> {
    let floor = replaced.map_or(Ok(0), highest_revision)?.max(bounded(Revision(logged)));
    let connection = Connection::open(path)?;
    connection.execute("DELETE FROM tokens", [])?;
    let jump = i64::try_from(JUMP).unwrap_or(i64::MAX);
    let sql = "UPDATE revisions SET revision = MAX(revision, ?2) + ?1, changes_from = MAX(revision, ?2) + ?1";
    connection.execute(sql, [jump, floor])?;
    connection.execute("DELETE FROM changes", [])?;
    // Readers of before begin with everything.
    connection.execute("DELETE FROM epochs", [])?;
    // Numbers that came after the copy may be in the log: the server's next start goes beyond them.
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'", [])?;
    connection.execute(
        "INSERT INTO policies (td, revision, digest, at_ms, files)
         SELECT td, MAX(MAX(revision), ?2) + ?1, digest, at_ms, files FROM policies GROUP BY td",
        [jump, floor],
    )?;
    // Nothing of it stays beside the file. Another connection of this process may be about to close.
    let until = instant() + Duration::from_secs(10);
    loop {
        match connection.pragma_update(None, "journal_mode", "DELETE") {
            Err(error) if is_busy(&error) && instant() < until => std::thread::sleep(Duration::from_millis(10)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, SqliteStore};

    #[test]
    fn a_restored_policy_gets_a_newer_revision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(SqliteStore::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.execute("INSERT INTO revisions VALUES ('example.org', 9, 0)", []).unwrap();
        for (revision, digest) in [(3, "11"), (7, "22")] {
            let row = (revision, digest.repeat(32));
            connection.execute("INSERT INTO policies VALUES ('example.org', ?1, ?2, 0, '[]')", row).unwrap();
        }
        drop(connection);
        start_new_epoch(&path, None, 0).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let name = sekisho_types::TrustDomain::parse("example.org").unwrap();
        let (policy, revision) =
            store.read(|reader| Ok((reader.policy(&name, None)?.unwrap(), reader.revision(&name)?))).unwrap();
        assert_eq!((policy.revision, policy.digest.to_string()), (7 + (1 << 32), "22".repeat(32)));
        assert!(policy.revision <= revision.0);
        assert!(store.read(|reader| reader.policy(&name, Some(7))).unwrap().is_some(), "records cite it");
        let history = |since| store.read(|reader| reader.history(&name, Revision(since))).unwrap();
        assert_eq!(history(9), History::TooOld, "what was lost may have gone beyond it");
        assert_eq!(history(revision.0), History::Known(vec![]));
        // The same copy again, in the place of the database that was restored from it.
        let again = folder.path().join("again.db");
        drop(SqliteStore::open(&again).unwrap());
        let connection = Connection::open(&again).unwrap();
        connection.execute("INSERT INTO revisions VALUES ('example.org', 9, 0)", []).unwrap();
        drop(connection);
        start_new_epoch(&again, Some(&path), 0).unwrap();
        let second = SqliteStore::open(&again).unwrap().read(|reader| reader.revision(&name)).unwrap();
        assert!(second.0 > revision.0, "{} after {}", second.0, revision.0);
    }
}
