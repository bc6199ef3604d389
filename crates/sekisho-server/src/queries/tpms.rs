use sekisho_evidence::node::{SOFTWARE_TPM, TPM};
use sekisho_store::DeviceRecord;

use super::query_error::QueryError;
use crate::caller::Operator;
use crate::domain::Shared;
use crate::query::Query;

/// The TPMs by which nodes attested, those that operators allowed, and those that wait for it.
pub(crate) struct ListTpms;

impl Query for ListTpms {
    type Caller = Operator;
    type Reply = Result<Vec<DeviceRecord>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let devices = of.store.devices(&of.identity.name).await?;
        Ok(devices.into_iter().filter(is_tpm).collect())
    }
}

/// Devices of other attestors are certificates, for which operators have no list.
fn is_tpm(device: &DeviceRecord) -> bool {
    let of = |class: &str, path: &str| path.strip_prefix("/spire/agent/").is_some_and(|rest| rest.starts_with(class));
    let classes = [TPM.name, SOFTWARE_TPM.name].map(|name| format!("{name}/"));
    device.node.as_ref().is_none_or(|node| classes.iter().any(|class| of(class, node.path())))
}
