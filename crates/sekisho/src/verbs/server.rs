use sekisho_runtime::{Stop, init_logs, stop_on_signal};

use crate::exit::{Exit, Failure};
use crate::output::line;

/// Runs a server; prints `ready <address> <socket>` on stdout once it serves.
pub(crate) async fn run(args: sekisho_server::ServerArgs) -> Result<Exit, Failure> {
    init_logs(&args.log);
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let ready = |address: std::net::SocketAddr, socket: &std::path::Path| {
        // Whoever started us may not read.
        let _unread = line(&format!("ready {address} {}", socket.display()));
    };
    sekisho_server::run(args, stop, ready).await.map_err(Failure::failed)?;
    Ok(Exit::Ok)
}
