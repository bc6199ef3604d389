//! Which program the workload runs: after exec it is another one, and the identity in use is not its.

use std::io;
use std::sync::Arc;

use sekisho_host::{ExecutableId, Process};
use sekisho_sdk::CurrentIdentity;
use tokio::sync::watch;

use crate::local::LocalError;

/// Fails if the workload runs another file than was measured for the identity in use. The agent looks every half second
/// and then delegates anew, or no more; this look, at each local connection, leaves no gap.
///
/// What this sidecar may not read (a workload with capabilities, say) is left to the agent.
pub(crate) async fn check(
    held: &watch::Receiver<Option<CurrentIdentity>>,
    workload: &Arc<Process>,
) -> Result<(), LocalError> {
    let Some(measured) = held.borrow().as_ref().map(|held| held.executable.clone()) else { return Ok(()) };
    let workload = workload.clone();
    let looked = sekisho_runtime::blocking(move || ExecutableId::of(&workload)).await;
    match looked.map_err(|error| LocalError::Io { at: "/proc".into(), source: io::Error::other(error) })? {
        Ok(now) if now.to_bytes() != *measured => {
            Err(LocalError::NotTheWorkload("the workload runs another program than its identity was issued to".into()))
        }
        _ => Ok(()),
    }
}
