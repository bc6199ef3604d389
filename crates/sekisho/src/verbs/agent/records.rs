//! Attested agents, as the server knows them.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use sekisho_api::{AgentForm, AgentList, AgentRef, AttestationForm, ChangesForm, ChangesQuery, EvidenceQuery};
use sekisho_ledger::sha256_of;
use sekisho_types::{Digest, UnixTime};
use serde_json::json;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::{Global, ServerOptions};
use crate::ids;
use crate::output::{Column, line, mark, print, printable, table};
use crate::rest::{Rest, with_query};
use crate::view::View;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentVerb {
    /// List attested agents
    #[command(alias = "ls", after_help = "Examples:\n  sekisho agent list\n  sekisho agent list --watch")]
    List {
        /// Show the list again after each change
        #[arg(short, long, env = "SEKISHO_WATCH")]
        watch: bool,
        #[command(flatten)]
        asks: ServerOptions,
    },
    /// Show one agent
    #[command(alias = "get", after_help = "Example:\n  sekisho agent show db-1")]
    Show(AgentArg),
    /// Ask the node of an agent for its state now: it is accepted, or the agent is no longer attested
    #[command(after_help = "Example:\n  sekisho agent attest db-1")]
    Attest(AgentArg),
    /// Write what the node of an agent showed when it attested by its TPM the last time, for `sekisho attest verify`
    #[command(after_help = "Examples:\n  sekisho agent evidence db-1\n  sekisho agent evidence --sha256 \
        9b1d6e0a4f7c25838e90ab1c6d5f3e7728490cbd1e2f3a5b6c7d8e9fa0b1c2d3 --file refused.json")]
    Evidence {
        /// SPIFFE ID of the agent, its path, or a prefix of its last part
        #[arg(required_unless_present = "sha256", conflicts_with = "sha256", add = complete::agents())]
        id: Option<String>,
        /// The evidence that a leaf names by this hash, also of a refused attestation
        // No variable: it would conflict with each agent that is named.
        #[arg(long, value_parser = ids::digest)]
        sha256: Option<Digest>,
        /// Where to write it; default: `<hash>.json`
        #[arg(long, env = "SEKISHO_EVIDENCE_FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        asks: ServerOptions,
    },
    /// Ban an agent: it gets no identity and cannot attest again
    #[command(after_help = "Example:\n  sekisho agent ban db-1")]
    Ban(AgentArg),
    /// Evict an agent: it must attest again
    #[command(after_help = "Example:\n  sekisho agent evict db-1")]
    Evict(AgentArg),
}

#[derive(Debug, Args)]
pub(crate) struct AgentArg {
    /// SPIFFE ID of the agent, its path, or a prefix of its last part
    #[arg(add = complete::agents())]
    id: String,
    #[command(flatten)]
    asks: ServerOptions,
}

pub(super) async fn run(verb: AgentVerb) -> Result<Exit, Failure> {
    match verb {
        AgentVerb::List { watch, asks } => list(&asks.into(), watch).await?,
        AgentVerb::Show(AgentArg { id, asks }) => {
            let global = Global::from(asks);
            let agent = ids::agent(&Rest::of(&global), &id).await?;
            print(global.output, &agent, || describe(&agent))?;
        }
        AgentVerb::Attest(AgentArg { id, asks }) => {
            let global = Global::from(asks);
            let rest = Rest::of(&global);
            let AgentForm { id, .. } = ids::agent(&rest, &id).await?;
            let outcome: AttestationForm = rest.send(Method::POST, "/v1/agents/attest", &AgentRef { id }).await?;
            print(global.output, &outcome, || describe_outcome(&outcome))?;
            return Ok(if outcome.accepted { Exit::Ok } else { Exit::Denied });
        }
        AgentVerb::Evidence { id, sha256, file, asks } => evidence(&asks.into(), id, sha256, file).await?,
        AgentVerb::Ban(AgentArg { id, asks }) => {
            let global = Global::from(asks);
            let rest = Rest::of(&global);
            let AgentForm { id, .. } = ids::agent(&rest, &id).await?;
            rest.order(Method::POST, "/v1/agents/ban", &AgentRef { id: id.clone() }).await?;
            print(global.output, &json!({"banned": id}), || format!("banned {id}"))?;
        }
        AgentVerb::Evict(AgentArg { id, asks }) => {
            let global = Global::from(asks);
            let rest = Rest::of(&global);
            let AgentForm { id, .. } = ids::agent(&rest, &id).await?;
            rest.delete(&with_query("/v1/agents", &AgentRef { id: id.clone() })?).await?;
            print(global.output, &json!({"evicted": id}), || format!("evicted {id}"))?;
        }
    }
    Ok(Exit::Ok)
}

async fn evidence(
    global: &Global,
    id: Option<String>,
    sha256: Option<Digest>,
    file: Option<PathBuf>,
) -> Result<(), Failure> {
    let rest = Rest::of(global);
    let id = match id {
        Some(id) => Some(ids::agent(&rest, &id).await?.id),
        None => None,
    };
    let query = EvidenceQuery { id: id.clone(), sha256: sha256.map(|sha256| sha256.to_string()) };
    let bytes = rest.get_bytes(&with_query("/v1/agents/evidence", &query)?).await?;
    let sha256 = Digest::new(sha256_of(&bytes));
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{sha256}.json")));
    std::fs::write(&file, &bytes).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let shown = json!({"id": id, "sha256": sha256.to_string(), "file": file});
    print(global.output, &shown, || {
        let file = file.display();
        format!("{file}\nverify it with: sekisho attest verify {file} --tpm-ca <authorities> --sha256 {sha256}")
    })
}

async fn list(global: &Global, watch: bool) -> Result<(), Failure> {
    let rest = Rest::of(global);
    if !watch {
        let AgentList { agents } = rest.get("/v1/agents").await?;
        return show(global, &rest, &agents).await;
    }
    let (mut after, mut shown) = (None, None);
    loop {
        // Before it is listed, so that no change is missed in between.
        let ChangesForm { sequence, .. } = rest.find("/v1/changes", &ChangesQuery { after }).await?;
        let AgentList { agents } = rest.get("/v1/agents").await?;
        if shown.as_ref() != Some(&agents) {
            if global.output.is_for_people() && std::io::stdout().is_terminal() {
                line("\u{1b}[H\u{1b}[2J")?;
            }
            show(global, &rest, &agents).await?;
        }
        (after, shown) = (Some(sequence), Some(agents));
    }
}

async fn show(global: &Global, rest: &Rest, agents: &[AgentForm]) -> Result<(), Failure> {
    let view = View::of(global, rest).await;
    let columns: [Column<'_, AgentForm>; 5] = [
        ("AGENT", &|agent| view.spiffe_id(&agent.id)),
        ("ATTESTED BY", &|agent| agent.attestation_type.clone()),
        ("STANDING", &|agent| standing(agent)),
        ("SVID ENDS", &|agent| view.left(UnixTime::from_millis(agent.svid_expires_at_ms))),
        ("VERSION", &|agent| agent.version.clone()),
    ];
    print(global.output, &agents, || table(agents, &columns))
}

fn describe_outcome(AttestationForm { id, accepted, reason }: &AttestationForm) -> String {
    match (accepted, reason) {
        (true, _) => format!("{} {id} shows the state that it has to be in", mark(true)),
        (false, reason) => {
            let reason = reason.as_deref().unwrap_or_default();
            format!("{} {id} was denied attestation and is no longer attested: {}", mark(false), printable(reason))
        }
    }
}

fn standing(agent: &AgentForm) -> String {
    format!("{} {}", mark(!agent.banned), if agent.banned { "banned" } else { "good" })
}

fn describe(agent: &AgentForm) -> String {
    format!(
        "agent       {}\nattested by {}\nstanding    {}\nSVID \
            ends   {}\nserial      {}\nversion     {}\nselectors   {}",
        agent.id,
        agent.attestation_type,
        standing(agent),
        UnixTime::from_millis(agent.svid_expires_at_ms),
        agent.svid_serial_number,
        agent.version,
        agent.selectors.join("\n            ")
    )
}
