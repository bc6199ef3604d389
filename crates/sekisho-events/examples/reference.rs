//! Prints the references of `docs/formats.md` in their order there, as a JSON array; `cargo xtask gen` puts them into
//! it.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let parts = serde_json::json!([sekisho_events::reference(), sekisho_events::node_reference()]);
    writeln!(std::io::stdout(), "{parts}")
}
