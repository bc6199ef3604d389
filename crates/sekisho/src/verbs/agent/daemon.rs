use sekisho_runtime::{Stop, stop_on_signal};

use crate::exit::{Exit, Failure};
use crate::output::line;
use crate::role::Role;

/// Runs an agent; prints `ready <socket>` on stdout once it serves.
pub(crate) async fn run(role: Role<sekisho_agent::AgentArgs>) -> Result<Exit, Failure> {
    let Role { own: args, closed } = role;
    closed.start(&args.log)?;
    let stop = Stop::new();
    stop_on_signal(&stop).map_err(Failure::failed)?;
    let ready = |socket: &std::path::Path| {
        // The process that started this one may not read.
        let _unread = line(&format!("ready {}", socket.display()));
    };
    sekisho_agent::run(args, stop, ready).await.map_err(Failure::failed)?;
    Ok(Exit::Ok)
}
