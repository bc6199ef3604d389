use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::before_6;
use crate::StoreError;

/// Each migration takes the schema one version further; none is ever edited once released.
const MIGRATIONS: [Migration; 10] = [
    Migration::Sql(include_str!("schema_1.sql")),
    Migration::Sql(include_str!("schema_2.sql")),
    Migration::Sql(include_str!("schema_3.sql")),
    Migration::Sql(include_str!("schema_4.sql")),
    Migration::Sql(include_str!("schema_5.sql")),
    Migration::Rows(before_6::rewrite_entries),
    Migration::Sql(include_str!("schema_7.sql")),
    Migration::Sql(include_str!("schema_8.sql")),
    Migration::Sql(include_str!("schema_9.sql")),
    Migration::Sql(include_str!("schema_10.sql")),
];

enum Migration {
    Sql(&'static str),
    /// Rows change, the tables stay.
    Rows(fn(&Connection) -> Result<(), StoreError>),
}

impl Migration {
    fn run(&self, connection: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Sql(sql) => Ok(connection.execute_batch(sql)?),
            Self::Rows(rewrite) => rewrite(connection),
        }
    }
}

/// Brings the database at `path` to the newest schema. One of an earlier release is copied first; then all steps are
/// one transaction, so that a failure leaves it as it was.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // What opens a commitment goes through the outbox: what is deleted is overwritten with zeros.
    connection.pragma_update(None, "secure_delete", "ON")?;
    if found == known {
        return Ok(());
    }
    if found > 0 {
        back_up(connection, path, found)?;
    }
    let transaction = connection.transaction()?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        migration.run(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    // What earlier releases deleted still stands in pages that are free.
    Ok(connection.execute_batch("VACUUM")?)
}

/// Copies a database of schema `version` beside itself, as `<name>.schema-<version>.<date>`.
fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let date: String = connection.query_row("SELECT strftime('%Y%m%dT%H%M%fZ', 'now')", [], |row| row.get(0))?;
    let copy = path.with_added_extension(format!("schema-{version}.{date}"));
    copy_database(path, &copy)?;
    tracing::info!(copy = %copy.display(), version, "the database of an earlier release was copied before its \
        migration");
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
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|source| StoreError::File { path: to.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::SqliteStore;

    /// A database as the release with schema `version` left it.
    fn of_version(path: &Path, version: usize) {
        let connection = Connection::open(path).unwrap();
        // Schema 6 rewrites entries, so they are made in the form before it.
        let (earlier, later) = MIGRATIONS[..version].split_at(version.min(5));
        earlier.iter().for_each(|migration| migration.run(&connection).unwrap());
        connection.execute("INSERT INTO revisions (td, revision) VALUES ('example.org', 41)", []).unwrap();
        let entry = "INSERT INTO entries VALUES ('example.org', ?1, 'spiffe://example.org/n', \
            'spiffe://example.org/a', 41, ?2)";
        for id in ["ent_1", "ent_2"] {
            let stored = before_6::tests::STORED.replace("ent_1", id);
            connection.execute(entry, [id, stored.as_str()]).unwrap();
        }
        later.iter().for_each(|migration| migration.run(&connection).unwrap());
        connection.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    }

    fn copies(folder: &Path) -> Vec<std::path::PathBuf> {
        let paths = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
        paths.filter(|path| path.display().to_string().contains(".schema-")).collect()
    }

    fn version(path: &Path) -> i64 {
        Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_earlier_schema_is_copied_and_then_opened() {
        for earlier in 1..MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.db");
            of_version(&path, earlier);
            let store = SqliteStore::open(&path).unwrap();
            let name = sekisho_types::TrustDomain::parse("example.org").unwrap();
            let state = store.read(|reader| reader.snapshot(&name)).unwrap();
            assert_eq!((state.revision.0, state.entries.len()), (41, 2));
            assert_eq!(state.entries.iter().map(|entry| entry.x509_ttl_seconds).sum::<u32>(), 1200);
            let [copy] = copies(folder.path()).try_into().unwrap();
            assert_eq!((version(&copy), version(&path)), (earlier as i64, MIGRATIONS.len() as i64));
            assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
            drop(store);
            SqliteStore::open(&path).unwrap();
            assert_eq!(copies(folder.path()).len(), 1, "an up-to-date database is not copied");
        }
    }

    #[test]
    fn a_failed_migration_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        of_version(&path, 1);
        // The third step makes a table of this name: the second one has run by then.
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE retention (x INTEGER) STRICT").unwrap();
        assert!(SqliteStore::open(&path).is_err());
        let connection = Connection::open(&path).unwrap();
        let decisions: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'decisions'", [], |row| row.get(0))
            .unwrap();
        assert_eq!((version(&path), decisions), (1, 1), "the step that dropped it was taken back");
    }

    #[test]
    fn a_newer_database_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        of_version(&path, MIGRATIONS.len());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 77).unwrap();
        let refused = SqliteStore::open(&path).err().unwrap().to_string();
        assert!(refused.contains("schema 77"), "{refused}");
        assert_eq!((version(&path), copies(folder.path()).len()), (77, 0));
    }
}
