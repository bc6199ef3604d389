use std::net::SocketAddr;

use sekisho_runtime::{Stop, stop_on_signal};
use sekisho_types::SpiffeId;

use crate::exit::{Exit, Failure};
use crate::output::line;
use crate::role::Role;

/// Runs a sidecar; prints `ready <SPIFFE ID>` on stdout once it has its identity, and then the address for peers if it
/// has one. Ends as its workload did.
pub(crate) async fn run(role: Role<sekisho_proxy::ProxyArgs>) -> Result<Exit, Failure> {
    let Role { own: args, closed } = role;
    closed.start(&args.log)?;
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let ready = |spiffe_id: &SpiffeId, inbound: Option<SocketAddr>| {
        let inbound = inbound.map(|address| format!(" {address}")).unwrap_or_default();
        // The process that started us may not read.
        let _unread = line(&format!("ready {spiffe_id}{inbound}"));
    };
    let workload = sekisho_proxy::run(args, stop, ready).await.map_err(Failure::failed)?;
    Ok(workload.map_or(Exit::Ok, Exit::OfWorkload))
}
