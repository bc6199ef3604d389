//! The part of `docs/formats.md` that follows from the declaration of records. `cargo xtask gen` writes it there.

use std::fmt::Write as _;

use crate::node::form::OBJECTS;

/// The objects of a record, as a table in Markdown.
pub fn node_reference() -> String {
    let mut out = String::from("| object | member | form |\n|---|---|---|\n");
    for object in OBJECTS {
        for (place, (name, form)) in object.members.iter().enumerate() {
            let says = if place == 0 { object.says.trim() } else { "" };
            let _infallible = writeln!(out, "| {says} | `{name}` | {form} |");
        }
    }
    out
}
