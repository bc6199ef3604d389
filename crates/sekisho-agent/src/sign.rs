//! Signatures with a workload's key in the TPM, for the handshakes of its sidecar.

use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::is_tls13_handshake;
use sekisho_proto::node::SignRequest;
use sekisho_runtime::now;

use crate::caller::Caller;
use crate::core::Core;
use crate::delegated_key::DelegatedKey;
use crate::refusal::Refusal;
use crate::sole_holder;
use crate::svid::KeyId;
use crate::svid_cache::revoked_by;

/// How long a handshake may wait for those before it. A peer waits little longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Signs for a sidecar, one signature after the other. What it depends on is judged before the wait and after it (law
/// L6).
pub(crate) async fn sign(core: &Core, caller: &Arc<Caller>, request: SignRequest) -> Result<Vec<u8>, Refusal> {
    let SignRequest { signing_key, content } = request;
    if !is_tls13_handshake(&content) {
        return Err(Refusal::NoHandshake);
    }
    let pid = caller.process.pid();
    let name = KeyId::from_slice(&signing_key).map_err(|_| Refusal::NotDelegated)?;
    let delegated = || core.delegations.key(pid, &name).ok_or(Refusal::NotDelegated);
    let first = delegated()?;
    judge(core, &first, caller).await?;
    sole_holder::check(&core.host, caller).await?;
    let place = core.limits.signatures.take(pid).ok_or(Refusal::Signatures)?;
    let turn = tokio::time::timeout(LONGEST_WAIT, core.limits.tpm_turn.clone().lock_owned()).await;
    let turn = turn.map_err(|_| Refusal::TpmBusy)?;
    let key = delegated()?;
    judge(core, &key, caller).await?;
    let work = move || {
        // Kept until the TPM has finished, whether or not the sidecar still waits.
        let _kept = (turn, place);
        key.signer.sign(&content)
    };
    let signed = sekisho_runtime::blocking(work).await.map_err(|_| Refusal::failed("the work of the TPM stopped"))?;
    signed.map_err(|error| {
        tracing::error!(%error, pid, "the TPM did not sign a handshake");
        Refusal::Tpm(error.to_string())
    })
}

/// Whether `caller` may use the key now: it is the process to which the SVID was delegated, the workload is what it
/// was, and the SVID has neither expired nor been revoked.
async fn judge(core: &Core, key: &DelegatedKey, caller: &Caller) -> Result<(), Refusal> {
    let (process, borrower) = (&caller.process, &key.borrower.process);
    if (process.pid(), process.start_time()) != (borrower.pid(), borrower.start_time()) {
        return Err(Refusal::NotDelegated);
    }
    if key.svid.not_after <= now() {
        return Err(Refusal::NotDelegated);
    }
    if let Some(why) = core.server_state.revocations().and_then(|all| revoked_by(&all, &key.svid)) {
        return Err(Refusal::RevokedMeanwhile(why));
    }
    core.host.still_measured(&key.workload, |process| process, &key.measured).await
}
