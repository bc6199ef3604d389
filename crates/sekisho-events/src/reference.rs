//! The part of `docs/formats.md` that follows from the declaration of events. `cargo xtask gen` writes it there.

use std::fmt::Write as _;

use sekisho_identity::Entry;

use crate::kinds::Event;

/// What one leaf of each kind looks like, as tables in Markdown.
pub fn reference() -> String {
    let mut out = String::from("| `kind` | and | says that | members |\n|---|---|---|---|\n");
    for form in Event::FORMS {
        let tag = form.tag.map(|(name, value)| format!("`{name}` is `{value}`")).unwrap_or_default();
        let members: Vec<String> = form
            .members
            .iter()
            .map(|member| {
                let (personal, optional) =
                    (if member.is_personal { "°" } else { "" }, if member.is_optional { "?" } else { "" });
                format!("`{}`{personal}{optional}", member.name)
            })
            .collect();
        let _infallible = writeln!(out, "| `{}` | {tag} | {} | {} |", form.kind, form.says.trim(), members.join(" "));
    }
    out.push_str("\n| member | form |\n|---|---|\n");
    let mut forms: Vec<_> =
        Event::FORMS.iter().flat_map(|form| form.members).map(|member| (member.name, member.form)).collect();
    forms.sort_unstable();
    forms.dedup();
    for (name, form) in forms {
        let _infallible = writeln!(out, "| `{name}` | {form} |");
    }
    let members: Vec<String> = Entry::MEMBERS.iter().map(|member| format!("`{member}`")).collect();
    let _infallible = writeln!(out, "\nMembers of an entry, beside its version `v`: {}.", members.join(" "));
    out
}
