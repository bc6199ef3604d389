//! All entries of a trust domain, as a start needs them: one thread reads rows, another makes entries of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;
use sekisho_identity::Entry;
use sekisho_types::{SpiffeId, TrustDomain};

use crate::{StoreError, form};

/// Rows that go to the other thread at once, and how often before this one waits.
const ROWS: usize = 1024;
const AHEAD: usize = 4;

/// In the order of their ids.
pub(super) fn all(connection: &Connection, td: &TrustDomain) -> Result<Vec<Arc<Entry>>, StoreError> {
    let (rows, texts) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let entries = scope.spawn(move || read(&texts));
        let sent = send(connection, td, &rows);
        drop(rows);
        // A row that is damaged ends the other thread first.
        let entries = entries.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        sent.map(|()| entries)
    })
}

fn send(connection: &Connection, td: &TrustDomain, to: &SyncSender<Vec<String>>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM entries WHERE td = ?1 ORDER BY id")?;
    let mut rows = statement.query([td.as_str()])?;
    loop {
        let mut texts = Vec::with_capacity(ROWS);
        while texts.len() < ROWS
            && let Some(row) = rows.next()?
        {
            texts.push(row.get(0)?);
        }
        if texts.is_empty() || to.send(texts).is_err() {
            return Ok(());
        }
    }
}

fn read(texts: &Receiver<Vec<String>>) -> Result<Vec<Arc<Entry>>, StoreError> {
    let (mut shared, mut out) = (SharedIds::default(), vec![]);
    for text in texts.iter().flatten() {
        out.push(Arc::new(shared.entry(form::entry_from_text(&text)?)));
    }
    Ok(out)
}

/// SPIFFE IDs of which each is kept once: many entries have one parent, and many nodes serve one identity.
#[derive(Default)]
struct SharedIds(HashSet<SpiffeId>);

impl SharedIds {
    fn entry(&mut self, entry: Entry) -> Entry {
        let (parent_id, spiffe_id) = (self.id(entry.parent_id), self.id(entry.spiffe_id));
        Entry { parent_id, spiffe_id, ..entry }
    }

    fn id(&mut self, id: SpiffeId) -> SpiffeId {
        if let Some(known) = self.0.get(&id) {
            return known.clone();
        }
        self.0.insert(id.clone());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteStore;

    #[test]
    fn entries_are_read_in_order_share_their_ids_and_a_damaged_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(SqliteStore::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        let parent = SpiffeId::parse("spiffe://example.org/n").unwrap();
        let put = |seed: u64| {
            let entry = Entry { parent_id: parent.clone(), ..Entry::sample(seed).unwrap() };
            let sql = "INSERT INTO entries VALUES ('example.org', ?1, ?2, ?3, 1, ?4)";
            let (id, record) = (entry.id.as_str(), sekisho_identity::entry_record(&entry));
            connection.execute(sql, [id, entry.parent_id.as_str(), entry.spiffe_id.as_str(), &record]).unwrap();
            entry
        };
        let count = (AHEAD as u64 + 3) * ROWS as u64 + 1;
        connection.execute_batch("BEGIN").unwrap();
        let wanted: Vec<Entry> = (0..count).map(put).collect();
        connection.execute_batch("COMMIT").unwrap();
        let td = TrustDomain::parse("example.org").unwrap();
        let found = all(&connection, &td).unwrap();
        assert!(found.iter().map(AsRef::as_ref).eq(&wanted));
        assert!(found.iter().all(|entry| entry.parent_id.as_str().as_ptr() == found[0].parent_id.as_str().as_ptr()));
        connection.execute("UPDATE entries SET value = 'x' WHERE id = ?1", [wanted[0].id.as_str()]).unwrap();
        assert!(matches!(all(&connection, &td), Err(StoreError::Damaged("entry"))));
        assert!(all(&connection, &TrustDomain::parse("other.org").unwrap()).unwrap().is_empty());
    }
}
