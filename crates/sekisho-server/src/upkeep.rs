//! What a trust domain needs while it is served: tasks, each under a name.

use std::sync::Arc;
use std::time::Duration;

use sekisho_events::RotationFailed;
use sekisho_net::TlsSource;
use sekisho_runtime::{Stop, now};
use tokio::task::JoinHandle;
use tracing::Span;

use crate::alert_webhook::{self, AlertWebhook};
use crate::config::DomainArgs;
use crate::domain::Shared;
use crate::drain::drain_outbox;
use crate::error::ServerError;
use crate::journal::JournalError;
use crate::{drain, own_svid, policy_folder, refusals, retention, rotation, scrub, witness};

/// How often the database learns how far the log has come, at least.
const MARK_EVERY: Duration = Duration::from_secs(30);

/// A trust domain whose tasks run.
pub(crate) struct RunningDomain {
    pub domain: Shared,
    /// The server's own SVID in it, and its bundle.
    pub source: TlsSource,
    /// The span of its lines in the program's log.
    pub span: Span,
    outbox: JoinHandle<()>,
}

/// Starts the tasks of a domain.
pub(crate) async fn start(
    domain: Shared,
    args: &DomainArgs,
    webhook: Option<Arc<AlertWebhook>>,
    stop: &Stop,
) -> Result<RunningDomain, ServerError> {
    let tasks = &domain.watch.tasks;
    let outbox = tasks.finishing("outbox", run_outbox(domain.clone(), stop.clone()));
    let source = TlsSource::new(own_svid::material(&domain).await?.0);
    tasks.required("own-svid", own_svid::run(domain.clone(), source.clone()));
    tasks.required("authorities", rotate_authorities(domain.clone()));
    start_housekeeping(&domain, args, stop);
    if let Some(webhook) = webhook {
        let of = domain.clone();
        tasks.restarted("alert-webhook", move || alert_webhook::run(webhook.clone(), of.clone()));
    }
    Ok(RunningDomain { domain, source, span: Span::current(), outbox })
}

impl RunningDomain {
    /// After the stop: logs what the last requests left to be logged.
    pub(crate) async fn finish(self) {
        refusals::log_count(&self.domain).await;
        let _ended = self.outbox.await;
    }
}

/// What can begin again at any time: each round looks at the state as it is.
fn start_housekeeping(domain: &Shared, args: &DomainArgs, stop: &Stop) {
    let tasks = &domain.watch.tasks;
    let of = domain.clone();
    tasks.restarted("refusal-counts", move || refusals::run_refusal_count(of.clone()));
    let of = domain.clone();
    tasks.restarted("entry-ends", move || {
        let domain = of.clone();
        async move { domain.streams.delivery.run_expiries().await }
    });
    let of = domain.clone();
    tasks.restarted("retention", move || retention::run(of.clone()));
    let rate = args.scrub_bundles_per_second;
    if rate > 0 {
        let (found, ledger) = (domain.watch.scrub.clone(), domain.log.ledger.clone());
        tasks.restarted("scrub", move || scrub::run(found.clone(), ledger.clone(), rate));
    }
    if let Some(witnesses) = domain.log.witnesses.clone() {
        let (ledger, stop) = (domain.log.ledger.clone(), stop.clone());
        tasks.restarted("witnesses", move || witness::run(witnesses.clone(), ledger.clone(), stop.clone()));
    }
    if let Some(folder) = args.policy_folder.clone() {
        let of = domain.clone();
        tasks.restarted("policy-folder", move || {
            let (domain, folder) = (of.clone(), folder.clone());
            async move {
                if let Err(error) = policy_folder::follow(domain, folder).await {
                    tracing::error!(%error, "the policy folder is not followed");
                }
            }
        });
    }
}

/// Moves leaves from the outbox into the ledger as they come, and remembers from time to time how far the ledger is.
async fn run_outbox(domain: Shared, stop: Stop) {
    let mut marked = 0;
    loop {
        let stopping = tokio::select! {
            biased;
            () = stop.wait() => true,
            () = domain.log.outbox.filled.notified() => false,
            () = tokio::time::sleep(MARK_EVERY) => false,
        };
        if let Err(error) = drain_outbox(&domain).await {
            tracing::error!(%error, "the ledger takes no leaves; they wait in the outbox until it does");
            tokio::time::sleep(Duration::from_secs(1)).await;
            domain.log.outbox.filled.notify_one();
        }
        let size = domain.log.ledger.size();
        if size != marked {
            match drain::mark(&domain).await {
                Ok(()) => marked = size,
                Err(error) => tracing::error!(%error, "the mark of the newest leaf was not stored; a restart searches \
                    the log for it"),
            }
        }
        if stopping {
            return;
        }
    }
}

/// How long a rotation that failed is left alone, at first and at most.
const ROTATION_PAUSE: std::ops::RangeInclusive<i64> = 30..=3600;

async fn rotate_authorities(domain: Shared) {
    let mut pause = *ROTATION_PAUSE.start();
    loop {
        let (next, longest) = match rotation::rotate(&domain, now()).await {
            Ok(until) => {
                pause = *ROTATION_PAUSE.start();
                // A plan that was made while the clock was wrong does not outlive the clock's correction by much.
                (until, 30)
            }
            Err(error) => {
                tracing::error!(%error, pause, "authorities were not rotated; the server will try again");
                let logged = domain.journal().append(RotationFailed {}).await;
                if let Err::<_, JournalError>(error) = logged {
                    tracing::error!(%error, "the failed rotation was not logged either");
                }
                let next = now().plus_seconds(pause);
                pause = (pause * 2).min(*ROTATION_PAUSE.end());
                (next, 3600)
            }
        };
        let seconds = u64::try_from(next.seconds_since(now())).unwrap_or(0).clamp(1, longest);
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }
}
