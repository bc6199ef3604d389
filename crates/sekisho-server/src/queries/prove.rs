use std::sync::Arc;
use std::time::Duration;

use sekisho_events::{Event, Leaf, Receipt, RecordId, Subject, openings_of};
use sekisho_ledger::{BatchPath, leaf_hash, verify_inclusion};

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::{Domain, Shared};
use crate::log_search;
use crate::query::Query;
use crate::record::id_of;

/// How long a request waits for the next checkpoint, which follows an entry within 100 ms.
const NEXT_CHECKPOINT: Duration = Duration::from_millis(300);

/// Shows that something is in the log: an attestation (`att_…`), an issuance (`iss_…`), a decision (`dec_…`) or any
/// leaf by its index.
pub(crate) struct Prove(pub String);

impl Query for Prove {
    type Caller = Operator;
    type Reply = Result<Receipt, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let Self(id) = self;
        let search = || {
            let (of, id) = (of.clone(), id.clone());
            sekisho_runtime::blocking(move || find(&of, &id))
        };
        let mut found = search().await?;
        if found.is_err() {
            // What was logged a moment ago is published with the next checkpoint, if there is one.
            let next = of.log.ledger.checkpoint_covering(of.log.ledger.size());
            if tokio::time::timeout(NEXT_CHECKPOINT, next).await.is_ok() {
                found = search().await?;
            }
        }
        let (index, record) = found?;
        let (size, checkpoint) = match of.cosigned().filter(|(size, _)| *size > index) {
            Some(cosigned) => cosigned,
            None => covering(of, id, index).await?,
        };
        let of = of.clone();
        sekisho_runtime::blocking(move || receipt(&of, index, size, checkpoint.to_string(), record)).await?
    }
}

/// A checkpoint that covers the entry. It follows an entry within 100 ms; that of an entry which this log does not have
/// never comes.
async fn covering(domain: &Domain, id: String, index: u64) -> Result<(u64, Arc<str>), QueryError> {
    let covering = domain.log.ledger.checkpoint_covering(index);
    match tokio::time::timeout(NEXT_CHECKPOINT * 10, covering).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(QueryError::OlderLog { id, index }),
    }
}

type Found = (u64, Option<(String, BatchPath)>);

fn find(domain: &Domain, id: &str) -> Result<Found, QueryError> {
    let missing = || QueryError::NotLogged(id.to_owned());
    if let Ok(index) = id.parse::<u64>() {
        return if index < domain.log.ledger.size() { Ok((index, None)) } else { Err(missing()) };
    }
    let made_on_a_node =
        RecordId::parse(id).and_then(|id| domain.log.decisions.find(id.key(), |kept| id_of(kept) == id));
    if let Some((found, place)) = made_on_a_node {
        let record = String::from_utf8_lossy(&found.kept.record).into_owned();
        return Ok((found.log_index, Some((record, place))));
    }
    log_search::find(&domain.log.ledger, id).map(|index| (index, None)).ok_or_else(missing)
}

fn receipt(
    domain: &Domain,
    index: u64,
    size: u64,
    checkpoint: String,
    record: Option<(String, BatchPath)>,
) -> Result<Receipt, QueryError> {
    let ledger = &domain.log.ledger;
    let entry = ledger.entry(index, size).ok_or(QueryError::Unreadable("an entry"))?;
    let path = ledger.path(index, size)?;
    // What is read may have been changed on disk: a proof that does not hold is not given out.
    let root = ledger.root(size).ok_or(QueryError::Unreadable("a tile"))?;
    verify_inclusion(index, size, &leaf_hash(&entry.leaf), &path, &root).map_err(|_| QueryError::DamagedLog(index))?;
    if let Some((record, place)) = &record {
        let root = match Leaf::decode(&entry.leaf).map(|leaf| leaf.event) {
            Ok(Event::DecisionsRecorded(recorded)) => Some(recorded.root),
            _ => None,
        };
        if root.is_none_or(|root| place.verify(record.as_bytes(), root.as_bytes()).is_err()) {
            return Err(QueryError::DamagedSegment(index));
        }
    }
    let subject = match record {
        Some((record, place)) => Subject::Record { record, place },
        None => Subject::Leaf { openings: openings_of(&entry.side).unwrap_or_default() },
    };
    Ok(Receipt { leaf: entry.leaf, subject, index, path, checkpoint })
}
