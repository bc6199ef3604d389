use sekisho_runtime::{Stop, stop_on_signal};

use crate::exit::{Exit, Failure};
use crate::output::line;
use crate::role::Role;

/// Runs a sidecar; prints `ready <SPIFFE ID>` on stdout once it has its identity. Ends as its workload did.
pub(crate) async fn run(role: Role<sekisho_proxy::ProxyArgs>) -> Result<Exit, Failure> {
    let Role { own: args, closed } = role;
    closed.start(&args.log)?;
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let ready = |spiffe_id: &str| {
        // Whoever started us may not read.
        let _unread = line(&format!("ready {spiffe_id}"));
    };
    let workload = sekisho_proxy::run(args, stop, ready).await.map_err(Failure::failed)?;
    Ok(workload.map_or(Exit::Ok, Exit::OfWorkload))
}
