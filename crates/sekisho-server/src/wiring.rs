//! The server's composition root: what is made, in which order, and what stops it.

use std::net::SocketAddr;
use std::path::Path;

use sekisho_runtime::{Stop, Tasks, Traces};
use tracing::{Instrument, Span, error_span};

use crate::alert_webhook::AlertWebhook;
use crate::config::{DomainArgs, ServerArgs};
use crate::error::ServerError;
use crate::upkeep::RunningDomain;
use crate::{listener, opening, upkeep};

/// Runs until `stop`. `ready` is called with the addresses once requests are served: that of the listener, and the
/// socket of the first trust domain's operators.
pub async fn run(args: ServerArgs, stop: Stop, ready: impl FnOnce(SocketAddr, &Path)) -> Result<(), ServerError> {
    args.check()?;
    let (tasks, mut running) = (Tasks::new(stop.clone()), vec![]);
    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-server")?;
    let served = async {
        for settings in args.domains() {
            let name = &settings.trust_domain;
            // The log of a server of several names the trust domain with each line.
            let span = if args.further.is_empty() { Span::none() } else { error_span!("domain", %name) };
            let opened = start(settings, tasks.of(name.as_str()), &stop).instrument(span).await;
            running.push(opened.map_err(|error| ServerError::of(name, error))?);
        }
        listener::serve(&args, &running, &tasks, &traces, &stop, ready).await
    };
    let served = served.await;
    // One that cannot be served takes the others down in order.
    stop.trigger();
    for running in running {
        running.finish().await;
    }
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    served.and_then(|()| Ok(tasks.outcome()?))
}

async fn start(args: &DomainArgs, tasks: Tasks, stop: &Stop) -> Result<RunningDomain, ServerError> {
    // One that cannot be used is found before anything is opened.
    let webhook = AlertWebhook::open(&args.webhook, &args.data).map_err(ServerError::Webhook)?;
    let domain = opening::open(args, tasks).await?;
    upkeep::start(domain, args, webhook, stop).await
}
