//! Changes of an entry. None of them drops a selector without saying so.

use clap::Args;
use hyper::Method;
use sekisho_api::{EntryForm, UpdateQuery};
use sekisho_identity::with_digest;
use sekisho_types::{Digest, Selector, SelectorSet};

use super::form::{Options, describe};
use crate::confirm::Question;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::print;
use crate::rest::{Rest, with_query};

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// New SPIFFE ID of the process
    #[arg(long, env = "SEKISHO_ENTRY_SPIFFE_ID")]
    spiffe_id: Option<String>,
    /// SPIFFE ID of the agent that will serve it
    #[arg(long, env = "SEKISHO_ENTRY_PARENT_ID")]
    parent_id: Option<String>,
    /// Replace all selectors; each property that the entry asks for now must be among them
    #[arg(long = "selector", env = "SEKISHO_ENTRY_SELECTORS", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["add", "remove"])]
    selectors: Vec<String>,
    /// Add a selector: the entry then asks for more
    #[arg(long = "add-selector", env = "SEKISHO_ENTRY_ADD_SELECTORS", value_delimiter = ',')]
    add: Vec<String>,
    /// Remove a selector; another selector of the same property must replace it, unless `--danger-loosen` is
    /// given
    #[arg(long = "remove-selector", env = "SEKISHO_ENTRY_REMOVE_SELECTORS", value_delimiter = ',')]
    remove: Vec<String>,
    /// Let the entry ask for less than before: more processes may then get its identity
    #[arg(long, env = "SEKISHO_DANGER_LOOSEN")]
    danger_loosen: bool,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn update(global: &Global, rest: &Rest, id: &str, change: Change) -> Result<Exit, Failure> {
    let mut entry = ids::entry(rest, id).await?;
    let id = entry.id.clone().unwrap_or_default();
    let mut selectors = parse(&entry.selectors)?;
    if !change.selectors.is_empty() {
        selectors = parse(&change.selectors)?;
    }
    for gone in parse(&change.remove)? {
        if !selectors.remove(&gone) {
            return Err(Failure::new(
                Exit::Usage,
                format!("`--remove-selector {gone}`: the entry has no such selector"),
            ));
        }
    }
    selectors.extend(parse(&change.add)?);
    entry.spiffe_id = change.spiffe_id.unwrap_or(entry.spiffe_id);
    entry.parent_id = change.parent_id.unwrap_or(entry.parent_id);
    change.options.put_into(&mut entry);
    let updated = put(rest, &id, entry, &selectors, change.danger_loosen).await?;
    print(global.output, &updated, || describe(&updated))?;
    Ok(Exit::Ok)
}

/// Puts a new digest of the executable in the place of the old one, after the operator has seen both.
pub(super) async fn approve(global: &Global, rest: &Rest, id: &str, sha256: &str, yes: bool) -> Result<Exit, Failure> {
    let digest = Digest::parse(sha256).map_err(|e| Failure::new(Exit::Usage, format!("--sha256: {e}")))?;
    let entry = ids::entry(rest, id).await?;
    let id = entry.id.clone().unwrap_or_default();
    let before = parse(&entry.selectors)?;
    let digest = Selector::parse(&format!("unix:sha256:{digest}")).map_err(Failure::failed)?;
    let after = with_digest(&before, &digest).ok_or_else(|| {
        let add = format!("sekisho entry update {id} --add-selector {digest}");
        Failure::failed(format!("{id} asks for no digest; to let it ask for this one: `{add}`"))
    })?;
    let listed = |set: &SelectorSet| set.iter().map(|s| format!("    {s}\n")).collect::<String>();
    let shown = format!(
        "{id} gives {} to processes with\n  before:\n{}  after:\n{}",
        entry.spiffe_id,
        listed(&before),
        listed(&after)
    );
    if before != after {
        let prompt = "every process of that kind then gets this identity. ";
        Question { shown: &shown, prompt, word: "approve", otherwise: "nothing was changed", verb: "approve" }
            .ask(yes)?;
    }
    let updated = put(rest, &id, entry, &after, false).await?;
    print(global.output, &updated, || describe(&updated))?;
    Ok(Exit::Ok)
}

/// Sends the entry as it shall be, unless another operator has changed it meanwhile.
async fn put(
    rest: &Rest,
    id: &str,
    mut entry: EntryForm,
    selectors: &SelectorSet,
    danger_loosen: bool,
) -> Result<EntryForm, Failure> {
    entry.selectors = selectors.iter().map(ToString::to_string).collect();
    let query = UpdateQuery { if_revision: Some(entry.revision_number), danger_loosen };
    rest.send(Method::PUT, &with_query(&format!("/v1/entries/{id}"), &query)?, &entry).await
}

fn parse(texts: &[String]) -> Result<SelectorSet, Failure> {
    let one = |text: &String| Selector::parse(text).map_err(|e| Failure::new(Exit::Usage, format!("`{text}`: {e}")));
    texts.iter().map(one).collect()
}
