use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::StoreError;

/// Each migration takes the schema one version further; none is ever edited once released.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// Brings a database to the newest schema.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Copies a database, as it is at one moment, to a new file. Its server may run.
pub fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    // SQLite fills an empty file and leaves it its mode.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    made.map_err(|source| StoreError::File { path: to.display().to_string(), source })?;
    let connection = Connection::open(from)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.execute("VACUUM INTO ?1", [to.display().to_string()])?;
    Ok(())
}

/// How far revisions jump after a restore: further than any that was given out since the copy was taken.
const JUMP: i64 = 1 << 32;

/// Prepares a database that was restored: its join tokens are unknown, its next revision lies beyond all earlier ones.
pub fn begin_anew(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    connection.execute("DELETE FROM tokens", [])?;
    connection.execute("UPDATE revisions SET revision = revision + ?1", [JUMP])?;
    // Nothing of it stays beside the file.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}
