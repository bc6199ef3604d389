//! `entry`: which process gets which identity.

mod change;
mod form;

use std::io::Write as _;

use clap::{Args, Subcommand};
use hyper::Method;
use sekisho_api::{AgentList, AgentsQuery, EntriesQuery, EntryForm, EntryList};
use serde_json::json;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{Column, Stderr, print, table};
use crate::rest::Rest;
use crate::view::View;

use change::Change;
use form::{Options, describe};

#[derive(Debug, Subcommand)]
pub(crate) enum EntryVerb {
    /// Create an entry
    #[command(
        alias = "add",
        after_help = "Example:\n  sekisho entry create --spiffe-id spiffe://prod.internal/shop --parent-id \
                                             spiffe://prod.internal/spire/agent/join_token/db-1 --selector \
                                             unix:user:shop"
    )]
    Create(Registration),
    /// List entries
    #[command(alias = "ls", after_help = "Example:\n  sekisho entry list --spiffe-id spiffe://prod.internal/shop")]
    List {
        /// Only entries with this SPIFFE ID
        #[arg(long, env = "SEKISHO_ENTRY_SPIFFE_ID")]
        spiffe_id: Option<String>,
    },
    /// Show one entry
    #[command(alias = "get", after_help = "Example:\n  sekisho entry show ent_0193ab4f6c2d1a2b")]
    Show {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::entries())]
        id: String,
    },
    /// Change an entry; properties that are not given stay
    #[command(after_help = "Example:\n  sekisho entry update ent_0193ab4f6c2d1a2b --add-selector unix:user:shop")]
    Update {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::entries())]
        id: String,
        #[command(flatten)]
        change: Box<Change>,
    },
    /// Approve a new digest of the executable in place of the old one; all other selectors stay
    #[command(
        after_help = "Example:\n  sekisho entry approve ent_0193ab4f6c2d1a2b --sha256 \"$(sha256sum </usr/bin/shop \
            | cut -d' ' -f1)\""
    )]
    Approve {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::entries())]
        id: String,
        /// SHA-256 of the executable, as `sha256sum` prints it
        #[arg(long, env = "SEKISHO_ENTRY_SHA256")]
        sha256: String,
        /// Do not ask for confirmation: for scripts that know what they approve
        #[arg(long, env = "SEKISHO_YES")]
        yes: bool,
    },
    /// Delete an entry
    #[command(alias = "rm", after_help = "Example:\n  sekisho entry delete ent_0193ab4f6c2d1a2b")]
    Delete {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::entries())]
        id: String,
        /// Accepted as by the verbs that ask: this one asks nothing
        #[arg(long, env = "SEKISHO_YES")]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Registration {
    /// SPIFFE ID that the process gets
    #[arg(long, env = "SEKISHO_ENTRY_SPIFFE_ID")]
    spiffe_id: String,
    /// SPIFFE ID of the agent that serves it (`sekisho agent list`)
    #[arg(long, env = "SEKISHO_ENTRY_PARENT_ID")]
    parent_id: String,
    /// `type:name:value`, for example `unix:uid:1000`. A process must have all selectors, and one of them names
    /// a user, group or container
    #[arg(long = "selector", env = "SEKISHO_ENTRY_SELECTORS", value_delimiter = ',', required = true)]
    selectors: Vec<String>,
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn run(global: &Global, verb: EntryVerb) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    match verb {
        EntryVerb::Create(new) => {
            let Registration { spiffe_id, parent_id, selectors, options } = new;
            let mut entry = EntryForm { spiffe_id, parent_id, selectors, ..Default::default() };
            options.put_into(&mut entry);
            let created: EntryForm = rest.send(Method::POST, "/v1/entries", &entry).await?;
            print(global.output, &created, || describe(&created))?;
            if global.output.is_for_people() && !has_parent(&rest, &created.parent_id).await? {
                warn_of_parent(&created.parent_id);
            }
        }
        EntryVerb::List { spiffe_id } => {
            let entries = list(&rest, spiffe_id).await?;
            let view = View::of(global, &rest).await;
            let columns: [Column<'_, EntryForm>; 4] = [
                ("ID", &|entry| view.id(entry.id.as_deref().unwrap_or("-"))),
                ("SPIFFE ID", &|entry| view.spiffe_id(&entry.spiffe_id)),
                ("PARENT", &|entry| view.spiffe_id(&entry.parent_id)),
                ("SELECTORS", &|entry| entry.selectors.join("\n")),
            ];
            print(global.output, &entries, || table(&entries, &columns))?;
        }
        EntryVerb::Show { id } => {
            let entry = ids::entry(&rest, &id).await?;
            print(global.output, &entry, || describe(&entry))?;
        }
        EntryVerb::Update { id, change } => return change::update(global, &rest, &id, *change).await,
        EntryVerb::Approve { id, sha256, yes } => return change::approve(global, &rest, &id, &sha256, yes).await,
        EntryVerb::Delete { id, yes: _ } => {
            let id = ids::entry(&rest, &id).await?.id.unwrap_or(id);
            rest.delete(&format!("/v1/entries/{id}")).await?;
            print(global.output, &json!({"deleted": id}), || format!("deleted {id}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// Whether an agent, an entry or the server itself has the SPIFFE ID of a parent.
async fn has_parent(rest: &Rest, parent: &str) -> Result<bool, Failure> {
    if parent.ends_with("/spire/server") {
        return Ok(true);
    }
    let query = EntriesQuery { spiffe_id: Some(parent.to_owned()), limit: Some(1), ..Default::default() };
    let aliases: EntryList = rest.find("/v1/entries", &query).await?;
    if !aliases.entries.is_empty() {
        return Ok(true);
    }
    let AgentList { agents } = rest.find("/v1/agents", &AgentsQuery { id: Some(parent.to_owned()) }).await?;
    Ok(agents.iter().any(|agent| agent.id == parent))
}

/// As with SPIRE, an entry may come before its agent. A mistyped parent looks the same.
fn warn_of_parent(parent: &str) {
    let _unread = writeln!(
        Stderr,
        "sekisho: warning: no agent or entry has the SPIFFE ID `{parent}` yet; before that, no process gets this \
         identity (`sekisho agent list`)"
    );
}

/// All entries, page by page.
async fn list(rest: &Rest, spiffe_id: Option<String>) -> Result<Vec<EntryForm>, Failure> {
    let (mut all, mut query) = (Vec::new(), EntriesQuery { spiffe_id, limit: Some(1000), ..Default::default() });
    loop {
        let page: EntryList = rest.find("/v1/entries", &query).await?;
        all.extend(page.entries);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}
