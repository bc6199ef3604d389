//! What a process may have, and how it hears of each change of it.

use std::sync::Arc;

use sekisho_host::Measurement;
use sekisho_identity::{Bundle, Entry};
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
    message: impl Fn(&Core, &[Arc<CachedSvid>]) -> T + Sync,
    to: &mpsc::Sender<Result<T, E>>,
) -> Result<(), Refusal> {
    let mut changes = core.server_state.changes();
    let mut sent = None;
    loop {
        changes.mark_unchanged();
        // Thousands of streams wait: what a round needs is not kept meanwhile.
        let round = Box::pin(round(core, caller, with_svids, &message, to, &mut sent));
        let Round::Next(due) = round.await? else { return Ok(()) };
        tokio::select! {
            biased;
            () = caller.process.stopped() => return Err(Refusal::stopped("the process has stopped")),
            () = to.closed() => return Ok(()),
            heard = changes.changed() => if heard.is_err() { return Ok(()) },
            () = renewal_due(due) => {}
        }
    }
}

/// What a stream was sent: its SVIDs, by their leaves and ends, and the authorities.
type Sent = (Vec<(u64, UnixTime)>, Arc<Bundle>);

enum Round {
    /// When the stream is looked at again at the latest; `None`: after a change.
    Next(Option<UnixTime>),
    /// The caller reads no more.
    Gone,
}

/// Measures the process, and sends what it may have if that is another state than the one that was sent.
async fn round<T, E>(
    core: &Core,
    caller: &Arc<Caller>,
    with_svids: bool,
    message: &(impl Fn(&Core, &[Arc<CachedSvid>]) -> T + Sync),
    to: &mpsc::Sender<Result<T, E>>,
    sent: &mut Option<Sent>,
) -> Result<Round, Refusal> {
    // On each round, so that exec, another uid or the end of the process is noticed (law L11).
    let (entries, measured, at) = entitled(core, caller).await?;
    let (entries, stay) = if with_svids { deliverable(entries)? } else { (vec![], String::new()) };
    let held = svids(core, &entries, &measured, at).await;
    let held = match held {
        Ok(held) => held,
        // Once something was sent, an outage does not close the stream.
        Err(refusal) if sent.is_some() && !refusal.is_final() => return Ok(Round::Next(None)),
        Err(refusal) => return Err(refusal),
    };
    let state: Sent = (held.iter().map(|svid| (svid.log_index, svid.not_after)).collect(), core.server_state.bundle());
    if sent.as_ref() != Some(&state) {
        // Only now: while an SVID is issued, the connection can change hands.
        if with_svids {
            sole_holder::check(&core.host, caller).await?;
        }
        core.host.still_measured(caller, |caller| &caller.process, &measured).await?;
        log_stay(&stay, measured.pid);
        if to.send(Ok(message(core, &held))).await.is_err() {
            return Ok(Round::Gone);
        }
        *sent = Some(state);
    }
    let first = held.iter().map(|svid| svid.renew_at).min();
    Ok(Round::Next(Some(first.unwrap_or_else(|| now().plus_seconds(LOOK_SECONDS)))))
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

/// The entries whose identity can be given to the process itself, and the IDs of the others, whose key stays in the
/// TPM. No entry of the first kind, and one of the second, is a refusal.
pub(crate) fn deliverable(entries: Vec<Arc<Entry>>) -> Result<(Vec<Arc<Entry>>, String), Refusal> {
    let (stay, given): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.tpm_key);
    let stay = stay.iter().map(|entry| format!("`{}`", entry.spiffe_id)).collect::<Vec<_>>().join(", ");
    if given.is_empty() && !stay.is_empty() { Err(Refusal::KeyStays(stay)) } else { Ok((given, stay)) }
}

/// Says why a process got less than its entries give.
pub(crate) fn log_stay(stay: &str, pid: i32) {
    if !stay.is_empty() {
        tracing::info!(pid, spiffe_id = stay, "not given to the process: its key is in the TPM, for a sidecar only");
    }
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
