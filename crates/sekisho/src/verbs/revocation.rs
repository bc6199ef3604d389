//! SVIDs that are refused although they have not expired.

use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use sekisho_api::{RevocationForm, RevocationList, RevocationPlan, RevocationRequest, RevocationRow, SidecarForm};
use sekisho_types::UnixTime;

use crate::complete;
use crate::confirm::Question;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{Column, mark, print, printable, table};
use crate::rest::Rest;
use crate::view::View;

#[derive(Debug, Subcommand)]
pub(crate) enum RevocationVerb {
    /// List revocations in force, and which sidecars have applied them
    #[command(alias = "ls", after_help = "Example:\n  sekisho revocation list")]
    List,
    /// Revoke SVIDs that were issued until now. This cannot be undone; processes that may have an SVID get a
    /// new one
    #[command(
        alias = "add",
        after_help = "Example:\n  sekisho revocation create --spiffe-id spiffe://prod.internal/shop --reason 'key \
            was copied'"
    )]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    what: TargetArgs,
    /// One line of text that refused peers receive
    #[arg(long, env = "SEKISHO_REVOCATION_REASON", default_value = "")]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long, env = "SEKISHO_YES")]
    yes: bool,
    /// Revoke it although the server does not know it: a precaution, for example after a restore
    #[arg(long, env = "SEKISHO_REVOCATION_UNKNOWN")]
    unknown: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// All SVIDs of a workload's SPIFFE ID
    #[arg(long, env = "SEKISHO_REVOCATION_SPIFFE_ID")]
    spiffe_id: Option<String>,
    /// One SVID: an X.509-SVID's serial number, a JWT-SVID's `jti`, or an `iss_…` of `svid list`
    #[arg(long, env = "SEKISHO_REVOCATION_SERIAL")]
    serial: Option<String>,
    /// The SVIDs of an entry, by its id
    #[arg(long, env = "SEKISHO_REVOCATION_ENTRY", add = complete::entries())]
    entry: Option<String>,
    /// An agent's own SVIDs and all that it requested, by its SPIFFE ID; the agent must attest again
    #[arg(long = "agent-id", env = "SEKISHO_REVOCATION_AGENT_ID")]
    agent_id: Option<String>,
}

pub(crate) async fn run(global: &Global, verb: RevocationVerb) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    match verb {
        RevocationVerb::List => list(global, &rest).await?,
        RevocationVerb::Create(new) => create(global, &rest, new).await?,
    }
    Ok(Exit::Ok)
}

async fn list(global: &Global, rest: &Rest) -> Result<(), Failure> {
    let listed: RevocationList = rest.get("/v1/revocations").await?;
    let view = View::of(global, rest).await;
    print(global.output, &listed, || {
        let columns: [Column<'_, RevocationRow>; 7] = [
            ("KIND", &|row| row.revocation.kind.clone()),
            ("WHAT", &|row| view.spiffe_id(&view.id(&row.revocation.what))),
            ("AGE", &|row| view.ago(UnixTime::from_millis(row.revocation.since_ms))),
            ("ENDS", &|row| view.left(UnixTime::from_millis(row.revocation.until_ms))),
            ("REVISION", &|row| row.revocation.revision.to_string()),
            ("APPLIED", &|row| {
                let all = row.applied + row.waiting;
                format!("{} {} of {all}", mark(row.waiting == 0), row.applied)
            }),
            ("REASON", &|row| printable(&row.revocation.reason)),
        ];
        let newest = listed.revocations.iter().map(|row| row.revocation.revision).max().unwrap_or(0);
        let waiting = listed.sidecars.iter().filter(|sidecar| sidecar.applied_revision < newest);
        let waiting: Vec<SidecarForm> = waiting.cloned().collect();
        let mut shown = table(&listed.revocations, &columns);
        if !waiting.is_empty() {
            let columns: [Column<'_, SidecarForm>; 3] = [
                ("SIDECAR OF", &|sidecar| view.spiffe_id(&sidecar.spiffe_id)),
                ("AGENT", &|sidecar| view.spiffe_id(&sidecar.agent)),
                ("APPLIED UP TO REVISION", &|sidecar| sidecar.applied_revision.to_string()),
            ];
            shown.push_str(&format!("\n\nnot yet applied by\n{}", table(&waiting, &columns)));
        }
        shown
    })
}

async fn create(global: &Global, rest: &Rest, new: CreateArgs) -> Result<(), Failure> {
    let TargetArgs { spiffe_id, serial, entry, agent_id: agent } = new.what;
    let entry = match entry {
        // One that is deleted can be revoked as well, by its whole id.
        Some(given) => Some(match ids::entry(rest, &given).await {
            Ok(entry) => entry.id.unwrap_or(given),
            Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => given,
            Err(failure) => return Err(failure),
        }),
        None => None,
    };
    let mut request = RevocationRequest { entry, agent, spiffe_id, serial, reason: new.reason, dry_run: true };
    let plan: RevocationPlan = rest.send(Method::POST, "/v1/revocations", &request).await?;
    if !plan.known && !new.unknown {
        let text = "nothing was revoked: the server knows no such SVID or agent; see `sekisho svid list` and \
            `sekisho agent list`, or \
                    revoke it as a precaution with `--unknown`";
        return Err(Failure::failed(text));
    }
    confirm(&plan, new.yes)?;
    request.dry_run = false;
    let made: RevocationForm = rest.send(Method::POST, "/v1/revocations", &request).await?;
    let note = if plan.known { "" } else { ", as a precaution: the server does not know it" };
    print(global.output, &made, || format!("revoked {} {} (revision {}){note}", made.kind, made.what, made.revision))
}

/// Shows what it cuts off, and asks.
fn confirm(plan: &RevocationPlan, yes: bool) -> Result<(), Failure> {
    let cuts: String = plan.cuts.iter().map(|cut| format!("  {}\n", printable(cut))).collect();
    let cuts = if cuts.is_empty() { "  no identity that is registered now\n".to_owned() } else { cuts };
    let shown = format!("cuts off:\n{cuts}{}\n", plan.then);
    let otherwise = "nothing was revoked";
    Question { shown: &shown, prompt: "", word: "revoke", otherwise, verb: "confirm" }.ask(yes)
}
