//! Ids for the shell: what the server lists when a person presses the tab key.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Command;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use sekisho_api::{
    AgentList, DecisionForm, DecisionsQuery, EntriesQuery, EntryList, IdentitiesQuery, IdentityForm, TokenRow, TpmRow,
};

use crate::exit::Failure;
use crate::global::Global;
use crate::rest::Rest;

/// How the registered script asks for candidates.
pub(crate) const VARIABLE: &str = "SEKISHO_COMPLETE";

/// A person waits for it.
const PATIENCE: Duration = Duration::from_millis(800);
/// Candidates that are of use to a person.
const LISTED: u32 = 100;

/// Answers a shell that asks for candidates, and ends the program then.
pub(crate) fn answer(grammar: fn() -> Command) {
    CompleteEnv::with_factory(grammar).var(VARIABLE).complete();
}

pub(crate) fn entries() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        listed(current, async |rest, _| {
            let query = EntriesQuery { limit: Some(1000), ..Default::default() };
            let page: EntryList = rest.find("/v1/entries", &query).await?;
            Ok(page.entries.into_iter().filter_map(|entry| Some((entry.id?, entry.spiffe_id))).collect())
        })
    })
}

pub(crate) fn tokens() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        listed(current, async |rest, _| {
            let rows: Vec<TokenRow> = rest.get("/v1/tokens").await?;
            Ok(rows.into_iter().map(|row| (row.id, row.agent_id.unwrap_or_default())).collect())
        })
    })
}

pub(crate) fn tpms() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        listed(current, async |rest, _| {
            let rows: Vec<TpmRow> = rest.get("/v1/tpms").await?;
            Ok(rows.into_iter().map(|row| (row.ek, row.about)).collect())
        })
    })
}

pub(crate) fn agents() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        listed(current, async |rest, current| {
            let AgentList { agents } = rest.get("/v1/agents").await?;
            // Its last part is enough to name it.
            let whole = current.starts_with("spiffe");
            let name = |id: &str| if whole { id } else { id.rsplit('/').next().unwrap_or(id) }.to_owned();
            Ok(agents.into_iter().map(|agent| (name(&agent.id), agent.id)).collect())
        })
    })
}

pub(crate) fn records() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| listed(current, async |rest, _| newest_records(&rest).await))
}

pub(crate) fn logged() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        listed(current, async |rest, _| {
            let mut out = newest_records(&rest).await?;
            let rows: Vec<IdentityForm> = rest.find("/v1/identities", &IdentitiesQuery { limit: Some(LISTED) }).await?;
            out.extend(rows.into_iter().map(|row| (row.id, row.spiffe_id)));
            Ok(out)
        })
    })
}

async fn newest_records(rest: &Rest) -> Result<Vec<(String, String)>, Failure> {
    let query = DecisionsQuery { limit: Some(LISTED), ..Default::default() };
    let rows: Vec<DecisionForm> = rest.find("/v1/decisions", &query).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.effect)).collect())
}

/// Values that begin as what was typed, each with what it is. A server that does not answer has none.
fn listed(
    current: &OsStr,
    list: impl AsyncFnOnce(Rest, &str) -> Result<Vec<(String, String)>, Failure>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let server_socket = std::env::var_os("SEKISHO_SERVER_SOCKET").map(Into::into);
    let rest = Rest::of(&Global { server_socket, ..Global::default() });
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return vec![] };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, list(rest, &current)).await });
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    let wanted = found.into_iter().filter(|(value, _)| value.starts_with(current.as_ref()));
    wanted.map(|(value, what)| CompletionCandidate::new(value).help(Some(what.into()))).collect()
}
