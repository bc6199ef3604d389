//! Sends the records of a spool to a receiver, as long as the program runs.

use std::time::Duration;

use crate::{DiskError, Spool, SpoolBatch};

/// Batches below half of the size that was asked for wait this long for others.
const GATHER: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The receiver's answer to a batch.
#[derive(Debug)]
pub enum SendOutcome {
    /// It is durable elsewhere.
    Taken,
    /// It will never be taken as it is.
    Refused(String),
    /// The receiver cannot take it now.
    Later(String),
}

impl Spool {
    /// Sends batches of at most `max` records, in order, each until it is taken. A batch that is refused is split until
    /// the record at fault is found, which is dropped and counted as lost. `send` is given each batch with its key.
    pub async fn drain<F: Future<Output = SendOutcome>>(self, max: usize, send: impl Fn(String, SpoolBatch) -> F) {
        let (mut pause, mut size) = (FIRST_PAUSE, max);
        // Sent again unchanged: a receiver that took a part of it recognises it by its content.
        let mut waiting: Option<SpoolBatch> = None;
        loop {
            let batch = match waiting.take() {
                Some(batch) => batch,
                None => self.next_batch(size).await,
            };
            let count = batch.records.len();
            let on_disk = match send(self.key(&batch), batch.clone()).await {
                SendOutcome::Taken => {
                    pause = FIRST_PAUSE;
                    let gather = size == max && count < max / 2;
                    // Behind the record at fault, batches grow again.
                    size = (size * 2).min(max);
                    let forgotten = self.on_disk(move |spool| spool.acknowledge(&batch)).await;
                    if gather {
                        tokio::time::sleep(GATHER).await;
                    }
                    forgotten
                }
                SendOutcome::Refused(_) if count > 1 => {
                    size = count / 2;
                    Ok(())
                }
                SendOutcome::Refused(reason) => {
                    tracing::error!(reason, "a record was refused permanently; it is counted as lost");
                    self.on_disk(move |spool| spool.discard(&batch)).await
                }
                SendOutcome::Later(reason) => {
                    tracing::warn!(reason, records = count, "records wait in the spool; they will be sent again");
                    waiting = Some(batch);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    Ok(())
                }
            };
            if let Err(error) = on_disk {
                tracing::error!(%error, "the spool was not shortened; after a restart the batch is sent again");
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Work that writes files or waits for files, away from the threads that serve.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let spool = self.clone();
        let done = sekisho_ports::blocking(move || work(&spool)).await;
        done.unwrap_or_else(|ended| Err(DiskError::Stopped(ended.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_waiting_batch_is_sent_again_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 100_000, "spool").unwrap();
        spool.append(&["one".into()]).unwrap();
        let sent = Arc::<Mutex<Vec<(String, SpoolBatch)>>>::default();
        let (heard, adds) = (sent.clone(), spool.clone());
        let send = |key, batch: SpoolBatch| {
            let mut sent = heard.lock().unwrap();
            sent.push((key, batch));
            if sent.len() == 1 {
                adds.append(&["two".into()]).unwrap();
                adds.count_lost(3).unwrap();
                return std::future::ready(SendOutcome::Later("no room".into()));
            }
            std::future::ready(SendOutcome::Taken)
        };
        let all_gone = async {
            while spool.depth().0 > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            biased;
            () = spool.clone().drain(1000, send) => {}
            () = all_gone => {}
        }
        let sent = sent.lock().unwrap();
        let of = |at: usize| (&sent[at].0, &sent[at].1.records, sent[at].1.lost);
        assert_eq!(of(0), of(1));
        assert_eq!((sent[2].1.records.as_slice(), sent[2].1.lost), (&["two".into()][..], 3));
    }

    #[tokio::test]
    async fn only_the_record_at_fault_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 100_000, "spool").unwrap();
        let records: Vec<bytes::Bytes> = (0..1000).map(|n| format!("record {n}").into()).collect();
        spool.append(&records).unwrap();
        let (taken, calls) = (Arc::<Mutex<Vec<bytes::Bytes>>>::default(), Arc::<Mutex<u32>>::default());
        let send = |_key, batch: SpoolBatch| {
            *calls.lock().unwrap() += 1;
            let bad = batch.records.iter().any(|record| record == "record 777");
            if !bad {
                taken.lock().unwrap().extend(batch.records);
            }
            std::future::ready(if bad { SendOutcome::Refused("bad".into()) } else { SendOutcome::Taken })
        };
        let drained = spool.clone().drain(1000, send);
        let all_gone = async {
            while spool.depth().0 > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            biased;
            () = drained => {}
            () = all_gone => {}
        }
        let expected: Vec<_> = records.into_iter().filter(|record| record != "record 777").collect();
        assert_eq!(*taken.lock().unwrap(), expected);
        assert!(*calls.lock().unwrap() < 60, "{}", calls.lock().unwrap());
    }
}
