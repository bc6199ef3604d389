use sekisho_disk::IndexedRecord;
use sekisho_events::{Counter, Event};
use sekisho_runtime::now;

use super::says;
use crate::commands::{BanAgent, CreateEntries, Record};
use crate::record::RecordError;
use crate::refusal::Refusal;
use crate::testbed::{Testbed, entry};
use crate::unstored::{Logged, Source, earlier};

fn record(number: u32, about: &str) -> bytes::Bytes {
    let at = now().millis();
    let input = format!(r#""input":{{"destination":"spiffe://example.org{about}"}}"#);
    let id = format!("dec_{at:012x}{number:020x}");
    format!(r#"{{"id":"{id}","at_ms":{at},"kind":"decision","effect":"deny",{input}}}"#).into()
}

#[tokio::test]
async fn law_l5_a_batch_is_recorded_once() {
    let bed = Testbed::new().await;
    let (shown, other) = (bed.joined("host-a").await, bed.joined("host-b").await);
    let entries = vec![entry("ent_1", "/shop", &shown.spiffe_id), entry("ent_2", "/till", &other.spiffe_id)];
    bed.operator().await.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
    let call = bed.agent(&shown).await;
    let batch = |records: Vec<bytes::Bytes>| Record { batch_key: "s:0".into(), records, lost: 0 };
    let records = vec![record(1, "/shop"), record(2, "/shop")];
    let index = call.execute(batch(records.clone())).await.map_err(Refusal::into_error).unwrap();
    let again = call.execute(batch(records)).await.map_err(Refusal::into_error).unwrap();
    assert_eq!(index, again);
    let foreign = Record { batch_key: "s:2".into(), records: vec![record(3, "/till")], lost: 0 };
    let refused = call.execute(foreign).await.map_err(Refusal::into_error);
    assert!(matches!(refused, Err(RecordError::Foreign(_))), "{refused:?}");
    let [refused] = bed.refusals().await.try_into().unwrap();
    assert_eq!(says(&refused).0, shown.spiffe_id.to_string());
    let batches = bed.recorded().await.into_iter().filter(|event| matches!(event, Event::DecisionsRecorded(_)));
    assert_eq!((batches.count(), bed.domain.watch.counters.value(Counter::RecordsTaken)), (1, 2));
    // One that was banned since its call began writes nothing more.
    bed.operator().await.execute(BanAgent { id: shown.spiffe_id.clone() }).await.unwrap();
    let late = Record { batch_key: "s:2".into(), records: vec![record(4, "/shop")], lost: 0 };
    let late = call.execute(late).await.map_err(Refusal::into_error);
    assert!(matches!(late, Err(RecordError::Conflict(_))), "{late:?}");
    let batches = bed.recorded().await.into_iter().filter(|event| matches!(event, Event::DecisionsRecorded(_)));
    assert_eq!((batches.count(), bed.refusals().await.len()), (1, 2), "no leaf but that of its refusal");
}

#[tokio::test]
async fn law_l5_a_start_finds_batches_in_the_log() {
    let bed = Testbed::new().await;
    let shown = bed.joined("host-a").await;
    let entries = vec![entry("ent_1", "/shop", &shown.spiffe_id)];
    bed.operator().await.execute_all(CreateEntries { entries }).await.map_err(Refusal::into_error).unwrap();
    let records = vec![record(1, "/shop"), record(2, "/shop")];
    let batch = Record { batch_key: "s:0".into(), records: records.clone(), lost: 3 };
    let index = bed.agent(&shown).await.execute(batch).await.map_err(Refusal::into_error).unwrap();
    let ledger = &bed.domain.log.ledger;
    // A start finds what was published: all that is durable.
    ledger.checkpoint_covering(index).await.unwrap();
    let before = crate::unstored::logged_before(ledger);
    let kept = |record: &bytes::Bytes| IndexedRecord { key: 0, class: 0, record: record.clone() };
    let mut grown: Vec<IndexedRecord> = records.iter().map(kept).collect();
    grown.push(kept(&record(3, "/shop")));
    let own = Source { reporter: shown.spiffe_id.to_string(), spool: Some("s".into()) };
    let found = |first, records: &[IndexedRecord]| earlier(&vec![], &before, &own, first, records);
    let logged = found(0, &grown).unwrap();
    assert_eq!((logged.log_index, logged.count, logged.missing), (index, 2, 3));
    assert_eq!(found(0, &grown[..2]), Some(logged));
    assert_eq!((found(1, &grown), found(0, &grown[1..])), (None, None));
}

/// The attack: a node sends the very records of another node, whose batch is logged and not stored.
#[test]
fn law_l5_a_batch_has_one_source() {
    let source = |reporter: &str, spool: &str| Source { reporter: reporter.into(), spool: Some(spool.into()) };
    let records = [IndexedRecord { key: 1, class: 0, record: record(1, "/shop") }];
    let root = crate::unstored::root_of(&records);
    let logged = |source: Source| Logged { source, first: 0, count: 1, root, missing: 0, log_index: 7 };
    let own = source("a", "s");
    let unstored = vec![logged(own.clone())];
    // What a start reads in the log names no spool.
    let before = [(0, vec![logged(Source { spool: None, ..own.clone() })])].into();
    let in_run = |source: &Source| earlier(&unstored, &Default::default(), source, 0, &records);
    let in_log = |source: &Source| earlier(&vec![], &before, source, 0, &records);
    assert!(in_run(&own).is_some() && in_log(&own).is_some());
    assert!(in_run(&source("b", "s")).is_none() && in_log(&source("b", "s")).is_none());
    assert!(in_run(&source("a", "t")).is_none());
}
