use bytes::Bytes;
use sekisho_disk::DiskError;

use crate::caller::AgentCaller;
use crate::command::Command;
use crate::record::{self, RecordError};
use crate::run::Run;

/// Records decisions and refusals made on a node. The reply is the index of their leaf.
pub(crate) struct Record {
    pub batch_key: String,
    pub records: Vec<Bytes>,
    /// How many records the spool has lost since it was made.
    pub lost: u64,
}

impl Command for Record {
    type Caller = AgentCaller;
    type Reply = u64;
    type Error = RecordError;

    async fn run(self, run: &Run<'_, AgentCaller>) -> Result<u64, RecordError> {
        let Self { batch_key, records, lost } = self;
        let lock = record::recording_lock(&run.domain.log, run.caller.id.get(), &batch_key).await;
        // From here on the batch is recorded even if the agent disconnects: half of it is not a valid state.
        let (domain, agent) = (run.domain.clone(), run.caller.clone());
        let recorded = tokio::spawn(async move {
            record::batch(&Run { domain: &domain, caller: &agent }, lock, &batch_key, records, lost).await
        });
        recorded.await.map_err(|ended| RecordError::Disk(DiskError::Stopped(ended.to_string())))?
    }
}
