//! Prints the reference of all events; `cargo xtask gen` puts it into `docs/formats.md`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(sekisho_events::reference().as_bytes())
}
