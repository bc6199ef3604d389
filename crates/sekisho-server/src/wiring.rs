//! The server's composition root: what is made, in which order, and what stops it.

use std::net::SocketAddr;
use std::path::Path;

use sekisho_runtime::{Stop, Tasks, Traces};

use crate::config::ServerArgs;
use crate::error::ServerError;
use crate::{listener, opening, upkeep};

/// Runs until `stop`. `ready` is called with the addresses once requests are served.
pub async fn run(args: ServerArgs, stop: Stop, ready: impl FnOnce(SocketAddr, &Path)) -> Result<(), ServerError> {
    let tasks = Tasks::new(stop.clone());
    let domain = opening::open(&args.own, tasks.clone()).await?;
    let kept = upkeep::keep(domain, &args.own, &stop).await?;
    let traces = Traces::to(args.otlp_endpoint.as_deref(), "sekisho-server")?;
    listener::serve(&args, &kept, &tasks, &traces, &stop, ready).await?;
    stop.trigger();
    kept.finish().await;
    let _flushed = sekisho_runtime::blocking(move || traces.flush()).await;
    Ok(tasks.outcome()?)
}
