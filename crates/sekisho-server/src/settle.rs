//! An outbox whose numbers say nothing is held against the log itself: after a restore, beside a log of an earlier
//! release, and when an older database was accepted (decisions/0042).

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_disk::{DiskError, Ledger};
use sekisho_ledger::TILE_WIDTH;
use sekisho_store::{OutboxLeaf, Write};

use crate::domain::Domain;
use crate::journal::JournalError;

/// Removes from the outbox what the log holds, and lets numbers go on beyond `held`, the last that the log knows of.
/// `is_older` says that the log speaks of a later state.
pub(crate) async fn settle(domain: &Domain, held: Option<i64>, is_older: bool) -> Result<(), JournalError> {
    let name = &domain.identity.name;
    let given = domain.store.marks(name).await?.last_leaf;
    let waiting = domain.store.outbox(name, usize::MAX).await?;
    let are_known = match held {
        Some(held) => held <= given && !is_older,
        None => waiting.is_empty(),
    };
    if are_known {
        return Ok(());
    }
    let ledger = domain.log.ledger.clone();
    let stopped = |_| JournalError::Disk(Arc::new(DiskError::Stopped("the search of the log stopped early".into())));
    let held_leaves = sekisho_runtime::blocking(move || held_of(&ledger, waiting)).await.map_err(stopped)?;
    let count = held_leaves.len();
    if count > 0 {
        tracing::info!(count, "leaves that waited are in the log already");
    }
    let settled = Write::SettleOutbox { held: held_leaves, beyond: held.unwrap_or(0) };
    domain.writer().write(settled).await.map(drop)
}

/// The numbers of those that stand in the log. Reads files, from the log's end to where the last of them is found.
fn held_of(ledger: &Ledger, waiting: Vec<OutboxLeaf>) -> Vec<i64> {
    let mut missing = BTreeMap::<Vec<u8>, Vec<i64>>::new();
    for OutboxLeaf { sequence, leaf, .. } in waiting {
        missing.entry(leaf).or_default().push(sequence);
    }
    let (size, mut held) = (ledger.size(), vec![]);
    for number in (0..size.div_ceil(TILE_WIDTH)).rev() {
        if missing.is_empty() {
            break;
        }
        for entry in ledger.bundle(number, size).unwrap_or_default() {
            if let Some(numbers) = missing.get_mut(&entry.leaf) {
                held.extend(numbers.pop());
                if numbers.is_empty() {
                    missing.remove(&entry.leaf);
                }
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use sekisho_disk::NewEntry;
    use sekisho_events::{AuthorityRemoved, Event};
    use sekisho_store::Item;

    use super::*;
    use crate::drain;
    use crate::testbed::Testbed;

    async fn record(domain: &Domain, number: usize) {
        let removed = AuthorityRemoved { authority: format!("a{number}") };
        let item = Item::default().record(domain.journal().leaf(removed));
        domain.writer().write::<JournalError>(item).await.unwrap();
    }

    async fn removed(bed: &Testbed) -> Vec<String> {
        let name = |event| match event {
            Event::AuthorityRemoved(removed) => Some(removed.authority),
            _ => None,
        };
        bed.recorded().await.into_iter().filter_map(name).collect()
    }

    #[tokio::test]
    async fn law_l5_a_restart_logs_only_missing_leaves() {
        let bed = Testbed::new().await;
        let (domain, name, ledger) = (&bed.domain, &bed.domain.identity.name, &bed.domain.log.ledger);
        for number in 0..5 {
            record(domain, number).await;
        }
        // As an earlier release left it: in the log, and not removed from the outbox.
        let rows = domain.store.outbox(name, 9).await.unwrap();
        let mut last = 0;
        for row in [0, 1, 3].map(|number| rows[number].clone()) {
            last = ledger.append(vec![NewEntry { leaf: row.leaf, side: row.side }]).await.unwrap();
        }
        ledger.checkpoint_covering(last).await.unwrap();
        settle(domain, None, false).await.unwrap();
        assert_eq!(domain.store.outbox_length(name).await.unwrap(), 2);
        assert_eq!(removed(&bed).await, ["a0", "a1", "a3", "a2", "a4"]);
        // An older database beside a log that holds later numbers: those that it gives are new ones.
        record(domain, 5).await;
        settle(domain, Some(1 << 40), false).await.unwrap();
        record(domain, 6).await;
        assert!(domain.store.marks(name).await.unwrap().last_leaf > 1 << 40);
        assert_eq!(removed(&bed).await, ["a0", "a1", "a3", "a2", "a4", "a5", "a6"]);
        // Numbers that are known are believed.
        record(domain, 7).await;
        settle(domain, Some(1 << 40), false).await.unwrap();
        assert_eq!(domain.store.outbox_length(name).await.unwrap(), 1);
    }

    /// The database did not take the end of a drain, and the server goes on.
    #[tokio::test]
    async fn law_l5_a_drain_that_is_repeated_adds_nothing() {
        let bed = Testbed::new().await;
        let (domain, name) = (&bed.domain, &bed.domain.identity.name);
        for number in 0..3 {
            record(domain, number).await;
            let rows = domain.store.outbox(name, 9).await.unwrap().into_iter();
            let leaves = rows.map(|row| (row.sequence, NewEntry { leaf: row.leaf, side: row.side }));
            domain.log.ledger.append_once(leaves.collect()).await.unwrap();
        }
        drain::drain_outbox(domain).await.unwrap();
        assert_eq!(domain.store.outbox_length(name).await.unwrap(), 0);
        assert_eq!(removed(&bed).await, ["a0", "a1", "a2"]);
    }
}
