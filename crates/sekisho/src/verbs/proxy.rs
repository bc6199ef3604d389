use sekisho_runtime::{Stop, init_logs, stop_on_signal};

use crate::exit::{Exit, Failure};
use crate::output::line;

/// Runs a sidecar; prints `ready <SPIFFE ID>` on stdout once it has its identity.
pub(crate) async fn run(args: sekisho_proxy::ProxyArgs) -> Result<Exit, Failure> {
    init_logs(&args.log);
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let ready = |spiffe_id: &str| {
        // Whoever started us may not read.
        let _unread = line(&format!("ready {spiffe_id}"));
    };
    sekisho_proxy::run(args, stop, ready).await.map_err(Failure::failed)?;
    Ok(Exit::Ok)
}
