use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::danger::TARGET;
use crate::repeated::Limited;

/// Logs to stderr: text on a terminal, JSON lines elsewhere. `filter` has the form of RUST_LOG.
pub fn init_logs(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // Law L16: they are shown with a quiet log too.
    let filter = match format!("{TARGET}=warn").parse() {
        Ok(always) => filter.add_directive(always),
        Err(_) => filter,
    };
    // A log that cannot be written, because the disk is full, must not end a request: what the layer would say about it
    // goes to the same place, by a macro that panics there.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.log_internal_errors(false);
    // A second call, as in tests that run several programs in one process, keeps the first one's choice.
    let _already_set = if std::io::stderr().is_terminal() {
        let has_colour = std::env::var_os("NO_COLOR").is_none();
        builder.with_ansi(has_colour).map_event_format(|format| Limited::new(format.with_ansi(has_colour))).try_init()
    } else {
        builder.json().flatten_event(true).map_event_format(Limited::new).try_init()
    };
}
