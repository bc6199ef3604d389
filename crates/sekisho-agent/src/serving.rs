//! What a process may have, and how it hears of each change of it.

use std::sync::Arc;

use sekisho_host::Measurement;
use sekisho_identity::Entry;
use sekisho_runtime::now;
use sekisho_types::UnixTime;
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::core::Core;
use crate::refusal::Refusal;
use crate::renewal_due::renewal_due;
use crate::svid::CachedSvid;
use crate::{issue, records, sole_holder};

/// A stream without SVIDs is looked at again this late.
const LOOK_SECONDS: i64 = 3600;

/// Sends complete states: at once, and after each rotation or change of what the process may have.
pub(crate) async fn feed<T, E>(
    core: &Core,
    caller: &Arc<Caller>,
    with_svids: bool,
    message: impl Fn(&Core, &[Arc<CachedSvid>]) -> T,
    to: &mpsc::Sender<Result<T, E>>,
) -> Result<(), Refusal> {
    let mut changes = core.server_state.changes();
    let mut said: Option<Vec<(u64, UnixTime)>> = None;
    let mut bundle_said = None;
    loop {
        changes.mark_unchanged();
        // Measured on each round, so that exec, another uid or the end of the process is noticed (law L11).
        let (entries, measured, at) = entitled(core, caller).await?;
        let held = if with_svids { svids(core, &entries, &measured, at).await } else { Ok(vec![]) };
        let due = match held {
            Ok(held) => {
                let state: Vec<_> = held.iter().map(|svid| (svid.log_index, svid.not_after)).collect();
                let bundle = core.server_state.bundle();
                if said.as_ref() != Some(&state) || bundle_said.as_ref() != Some(&bundle) {
                    // Only now: while an SVID is issued, the connection can change hands.
                    if with_svids {
                        sole_holder::check(&core.host, caller).await?;
                    }
                    core.host.still_measured(caller, |caller| &caller.process, &measured).await?;
                    if to.send(Ok(message(core, &held))).await.is_err() {
                        return Ok(());
                    }
                    (said, bundle_said) = (Some(state), Some(bundle));
                }
                let first = held.iter().map(|svid| svid.renew_at).min();
                Some(first.unwrap_or_else(|| now().plus_seconds(LOOK_SECONDS)))
            }
            // Once something was sent, an outage does not close the stream.
            Err(refusal) if said.is_some() && !refusal.is_final() => None,
            Err(refusal) => return Err(refusal),
        };
        tokio::select! {
            biased;
            () = caller.process.stopped() => return Err(Refusal::stopped("the process has stopped")),
            () = to.closed() => return Ok(()),
            heard = changes.changed() => if heard.is_err() { return Ok(()) },
            () = renewal_due(due) => {}
        }
    }
}

/// The entries that the caller matches; none is a refusal that goes to the log.
pub(crate) async fn entitled(
    core: &Core,
    caller: &Arc<Caller>,
) -> Result<(Vec<Arc<Entry>>, Measurement, UnixTime), Refusal> {
    let (measured, at) = caller.measure(&core.host).await?;
    let entries = core.server_state.matches(&measured.selectors, at);
    if entries.is_empty() {
        return Err(records::no_identity(core, &measured).await);
    }
    Ok((entries, measured, at))
}

async fn svids(
    core: &Core,
    entries: &[Arc<Entry>],
    measured: &Measurement,
    at: UnixTime,
) -> Result<Vec<Arc<CachedSvid>>, Refusal> {
    let all = entries.iter().map(|entry| issue::x509(core, entry, measured, at));
    futures_util::future::join_all(all).await.into_iter().collect()
}
