//! Emptying a spool towards whoever takes its records, for ever.

use std::time::Duration;

use crate::{Spool, SpoolBatch};

/// Batches below half of the size that was asked for wait this long for others.
const GATHER: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What became of a batch that was sent.
#[derive(Debug)]
pub enum Sent {
    /// It is durable elsewhere.
    Taken,
    /// It will never be taken as it is.
    Refused(String),
    /// Nobody can take it now.
    Later(String),
}

impl Spool {
    /// Sends batches of at most `max` records, in order, each until it is taken. A batch that is refused is narrowed down
    /// to the record at fault, which is given up and counted as lost. `send` is given each batch with its key.
    pub async fn drain<F: Future<Output = Sent>>(self, max: usize, send: impl Fn(String, SpoolBatch) -> F) {
        let (mut pause, mut size) = (FIRST_PAUSE, max);
        loop {
            let batch = self.next_batch(size).await;
            let on_disk = match send(self.key(&batch), batch.clone()).await {
                Sent::Taken => {
                    (pause, size) = (FIRST_PAUSE, max);
                    let forgotten = self.acknowledge(&batch);
                    if batch.records.len() < max / 2 {
                        tokio::time::sleep(GATHER).await;
                    }
                    forgotten
                }
                Sent::Refused(_) if batch.records.len() > 1 => {
                    size = 1;
                    Ok(())
                }
                Sent::Refused(reason) => {
                    tracing::error!(reason, "a record is refused for good; it is counted as lost");
                    self.discard(&batch)
                }
                Sent::Later(reason) => {
                    tracing::debug!(reason, "records wait");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    Ok(())
                }
            };
            if let Err(error) = on_disk {
                tracing::error!(%error, "the spool was not shortened; the batch may be sent again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
