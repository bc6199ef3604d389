//! All entries of a trust domain, as a start needs them: one thread reads rows, another makes entries of them, and so
//! does the first whenever the other is behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use sekisho_identity::Entry;
use sekisho_types::{SpiffeId, TrustDomain};

use crate::{StoreError, form};

/// Rows that go to the other thread at once, and how often before it is behind.
const ROWS: usize = 1024;
const AHEAD: usize = 4;
/// A row is about so long, in bytes.
const ROW: usize = 512;

/// Texts of rows, in one piece.
struct Texts {
    /// Which piece it is.
    number: usize,
    all: String,
    /// Where each text ends.
    ends: Vec<usize>,
}

/// What they say.
struct Part {
    number: usize,
    entries: Vec<Arc<Entry>>,
}

/// In the order of their ids.
pub(super) fn all(connection: &Connection, td: &TrustDomain) -> Result<Vec<Arc<Entry>>, StoreError> {
    let (rows, texts) = sync_channel(AHEAD);
    let (other, own) = std::thread::scope(|scope| {
        let other = scope.spawn(move || read(&texts));
        let own = send(connection, td, &rows);
        drop(rows);
        (other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), own)
    });
    // A row that is damaged ends the other thread first.
    let mut parts = other?;
    parts.extend(own?);
    parts.sort_unstable_by_key(|part| part.number);
    Ok(parts.into_iter().flat_map(|part| part.entries).collect())
}

/// Returns what this thread made of those that the other had no time for.
fn send(connection: &Connection, td: &TrustDomain, to: &SyncSender<Texts>) -> Result<Vec<Part>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM entries WHERE td = ?1 ORDER BY id")?;
    let mut rows = statement.query([td.as_str()])?;
    let (mut shared, mut parts) = (SharedIds::default(), vec![]);
    for number in 0.. {
        let mut texts = Texts { number, all: String::with_capacity(ROWS * ROW), ends: Vec::with_capacity(ROWS) };
        while texts.ends.len() < ROWS
            && let Some(row) = rows.next()?
        {
            texts.all.push_str(row.get_ref(0)?.as_str().map_err(|_| StoreError::Damaged("entry"))?);
            texts.ends.push(texts.all.len());
        }
        if texts.ends.is_empty() {
            break;
        }
        match to.try_send(texts) {
            Ok(()) => {}
            Err(TrySendError::Full(texts)) => parts.push(shared.part(&texts)?),
            Err(TrySendError::Disconnected(_)) => break,
        }
    }
    Ok(parts)
}

fn read(texts: &Receiver<Texts>) -> Result<Vec<Part>, StoreError> {
    let mut shared = SharedIds::default();
    texts.iter().map(|texts| shared.part(&texts)).collect()
}

/// SPIFFE IDs of which each thread keeps one: many entries have one parent, and many nodes serve one identity.
#[derive(Default)]
struct SharedIds(HashSet<SpiffeId>);

impl SharedIds {
    fn part(&mut self, texts: &Texts) -> Result<Part, StoreError> {
        let begins = std::iter::once(0).chain(texts.ends.iter().copied());
        let texts_of = begins.zip(&texts.ends).map(|(begin, end)| texts.all.get(begin..*end).unwrap_or_default());
        let entries = texts_of.map(|text| Ok(Arc::new(self.entry(form::entry_from_text(text)?))));
        Ok(Part { number: texts.number, entries: entries.collect::<Result<_, StoreError>>()? })
    }

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
    fn entries_are_read_in_order() {
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
        let copies: HashSet<*const u8> = found.iter().map(|entry| entry.parent_id.as_str().as_ptr()).collect();
        assert!(copies.len() <= 2, "one of each thread");
        connection.execute("UPDATE entries SET value = 'x' WHERE id = ?1", [wanted[0].id.as_str()]).unwrap();
        assert!(matches!(all(&connection, &td), Err(StoreError::Damaged("entry"))));
        assert!(all(&connection, &TrustDomain::parse("other.org").unwrap()).unwrap().is_empty());
    }
}
