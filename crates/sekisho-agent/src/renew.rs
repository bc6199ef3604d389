//! The agent's own SVID, renewed at half life; and the cache on disk, written after changes.

use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::renew_at_with_jitter;
use sekisho_net::{TlsMaterial, TlsSource};
use sekisho_runtime::{now, random_u32};
use sekisho_types::Digest;

use crate::attest::{self, dial, dialer};
use crate::behind::required_by_own;
use crate::config::AgentArgs;
use crate::core::Core;
use crate::error::AgentError;
use crate::svid::AgentSvid;

/// How long a disk that did not take the cache is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Writes the cache whenever it is wanted, at most twice a second, and again until the disk takes it.
pub(crate) async fn run_cache(core: Arc<Core>) {
    loop {
        core.cache.save_requested().await;
        while !save(&core).await {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Writes the cache now. False if the disk did not take it.
pub(crate) async fn save(core: &Arc<Core>) -> bool {
    let saver = core.clone();
    match sekisho_runtime::blocking(move || saver.save()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(
                %error,
                "the cache was not written: a restart without the server would not serve, and SVIDs that require a \
                 newer policy are withheld; free space on the disk of the agent's data folder"
            );
            false
        }
        Err(error) => {
            tracing::error!(%error, "the cache was not written");
            false
        }
    }
}

/// Renews the agent's SVID permanently; ends when the server will have nothing more to do with this agent.
pub(crate) async fn renew_own_svid(core: Arc<Core>, args: AgentArgs) -> AgentError {
    let mut jitter = random_u32();
    let (mut refused, mut failures) = (None, 0);
    loop {
        let own = core.upstream.own();
        let due = renew_at_with_jitter(own.not_before, own.not_after, jitter);
        // Not longer at a time: a clock that was set has to be noticed.
        let seconds = u64::try_from(due.seconds_since(now())).unwrap_or(0);
        let wanted = tokio::select! {
            biased;
            () = core.upstream.attest_wanted.notified() => true,
            () = tokio::time::sleep(Duration::from_secs(seconds.min(10))) => false,
        };
        if seconds > 10 && !wanted {
            continue;
        }
        jitter = random_u32();
        match renew_once(&core, &args, &mut refused).await {
            Ok(()) => failures = 0,
            Err(error) if is_final(&error) => return error,
            Err(error) => {
                let lifetime = own.not_after.seconds_since(own.not_before);
                let pause = if matches!(error, AgentError::NoProof) { 60 } else { retry_pause(failures, lifetime) };
                failures += 1;
                tracing::warn!(%error, pause, "the agent's SVID was not renewed; the agent will try again");
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
        }
    }
}

/// Seconds to wait after a renewal that failed, when `failures` others failed before it. The pause doubles from 5 s to
/// a minute, and to a sixtieth of the lifetime at most: a short SVID is tried often enough before it expires.
fn retry_pause(failures: u32, lifetime_seconds: i64) -> u64 {
    let longest = u64::try_from(lifetime_seconds / 60).unwrap_or(0).clamp(5, 60);
    5u64.saturating_mul(1 << failures.min(10)).min(longest)
}

async fn renew_once(core: &Arc<Core>, args: &AgentArgs, refused: &mut Option<Digest>) -> Result<(), AgentError> {
    let renewed = if core.upstream.own().not_after <= now() {
        tracing::warn!("the agent's SVID expired before it was renewed");
        attest_again(core, args, refused).await?
    } else if args.proofs.proof().is_ok_and(|proof| proof.can_repeat()) {
        // A node that can prove itself again does so each time; servers do not renew the SVID of such a node.
        attest_again(core, args, refused).await?
    } else {
        match attest::renew(core.upstream.channel()).await {
            Err(AgentError::Server(failure)) if failure.must_reattest() => {
                tracing::warn!("the server asks this agent to attest again");
                attest_again(core, args, refused).await?
            }
            other => other?,
        }
    };
    let channel = dial(&core.upstream.tls, args)?;
    core.server_state.require(required_by_own(&renewed));
    core.upstream.hold(renewed);
    // On disk before it is shown: once it was used the server refuses the earlier one, which is all that a crash would
    // leave.
    save(core).await;
    core.upstream.show()?;
    core.upstream.redial(channel);
    Ok(())
}

/// Attests over a connection that shows no SVID, since the server knows the one held no more.
///
/// A token that the server has refused is not shown again: the agent waits for another one in its file.
async fn attest_again(
    core: &Arc<Core>,
    args: &AgentArgs,
    refused: &mut Option<Digest>,
) -> Result<AgentSvid, AgentError> {
    let stranger = TlsSource::new(TlsMaterial::new(None, core.server_state.bundle())?);
    let proof = args.proofs.proof()?;
    let token = proof.one_time();
    let used = || AgentError::TokenUsed(args.proofs.join_token_file.clone().unwrap_or_default());
    if token.is_some() && token == *refused {
        return Err(used());
    }
    let proving = core.upstream.proving.lock().await;
    let attested = attest::attest(&dialer(&stranger, args)?, proof).await;
    drop(proving);
    if let (Some(token), Err(AgentError::Server(failure))) = (token, &attested)
        && failure.refuses_proof()
    {
        tracing::warn!(reason = failure.message, "the join token was refused");
        *refused = Some(token);
        return Err(used());
    }
    attested
}

/// A banned agent stops. One that cannot attest again goes on serving what it holds (law L14).
fn is_final(error: &AgentError) -> bool {
    matches!(error, AgentError::Server(failure) if failure.is_banned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_backs_off_within_the_lifetime() {
        let pauses = |lifetime| (0..6).map(|failures| retry_pause(failures, lifetime)).collect::<Vec<_>>();
        assert_eq!(pauses(14_400), [5, 10, 20, 40, 60, 60]);
        assert_eq!(pauses(900), [5, 10, 15, 15, 15, 15]);
        assert_eq!(pauses(60), [5; 6]);
        assert_eq!(retry_pause(u32::MAX, i64::MAX), 60);
    }
}
