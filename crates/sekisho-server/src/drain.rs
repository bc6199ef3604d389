//! The way of the outbox into the log.

use sekisho_disk::NewEntry;
use sekisho_store::{LogMark, Write};

use crate::domain::Domain;
use crate::journal::{APPEND_BYTES, JournalError};

/// Leaves that are moved into the log at once.
const AT_ONCE: usize = 4096;

/// Moves all leaves of the outbox into the log, in order and each once: what the log has already, it leaves out
/// (decisions/0042).
pub(crate) async fn drain_outbox(domain: &Domain) -> Result<(), JournalError> {
    let _one_at_a_time = domain.log.outbox.draining.lock().await;
    loop {
        let mut waiting = domain.store.outbox(&domain.identity.name, AT_ONCE).await?;
        // As many as one append takes; each alone is far below that.
        let mut bytes = 0;
        let fit = waiting.iter().take_while(|row| {
            bytes += row.leaf.len() + row.side.len() + 8;
            bytes <= APPEND_BYTES
        });
        let fit = fit.count().max(1);
        waiting.truncate(fit);
        let Some(last) = waiting.last().map(|leaf| leaf.sequence) else { return Ok(()) };
        let count = waiting.len();
        let leaves = waiting.into_iter().map(|row| (row.sequence, NewEntry { leaf: row.leaf, side: row.side }));
        let appended = domain.log.ledger.append_once(leaves.collect()).await;
        domain.watch.health.appended(&appended);
        domain.log.outbox.offered(appended.is_ok());
        appended.map_err(JournalError::Disk)?;
        domain.writer().write::<JournalError>(Write::Drained(last)).await?;
        domain.log.outbox.logged(count);
    }
}

/// Remembers in the database how far the log has come; an older copy of the log is then noticed at the next start.
pub(crate) async fn mark(domain: &Domain) -> Result<(), JournalError> {
    let size = domain.log.ledger.size();
    let ledger = domain.log.ledger.clone();
    let root = sekisho_runtime::blocking(move || ledger.root(size)).await.ok().flatten();
    let Some(root) = root.filter(|_| size > 0) else { return Ok(()) };
    let mark = LogMark { size, root: root.to_vec() };
    domain.writer().write(Write::MarkLog(mark)).await.map(drop)
}
