//! SVIDs that are refused although they have not expired.

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, printable, table, text};
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum RevocationVerb {
    /// List revocations in force, and which sidecars have applied them
    #[command(alias = "ls")]
    List,
    /// Revoke what was issued until now. It cannot be taken back, and need not be: what may have an SVID gets a new one
    Create(New),
}

#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(flatten)]
    what: What,
    /// One line; peers that are refused hear it
    #[arg(long, env = "SEKISHO_REVOCATION_REASON", default_value = "")]
    reason: String,
    /// Do not ask
    #[arg(long, env = "SEKISHO_YES")]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All SVIDs of a workload's SPIFFE ID
    #[arg(long, env = "SEKISHO_REVOCATION_SPIFFE_ID")]
    spiffe_id: Option<String>,
    /// One SVID: an X.509-SVID's serial number, a JWT-SVID's `jti`, or an `iss_…` of `svid list`
    #[arg(long, env = "SEKISHO_REVOCATION_SERIAL")]
    serial: Option<String>,
    /// The SVIDs of an entry, by its id
    #[arg(long, env = "SEKISHO_REVOCATION_ENTRY")]
    entry: Option<String>,
    /// An agent's own SVIDs and all that it asked for, by its SPIFFE ID; it must attest again
    #[arg(long = "agent-id", env = "SEKISHO_REVOCATION_AGENT_ID")]
    agent_id: Option<String>,
}

pub(crate) async fn run(global: &Global, verb: RevocationVerb) -> Result<Exit, Failure> {
    let rest = Rest::new(&global.server_socket());
    match verb {
        RevocationVerb::List => list(global, &rest).await?,
        RevocationVerb::Create(new) => create(global, &rest, new).await?,
    }
    Ok(Exit::Ok)
}

async fn list(global: &Global, rest: &Rest) -> Result<(), Failure> {
    let listed = rest.get("/v1/revocations").await?;
    let number = |row: &Value, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let list = |name: &str| listed.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    print(global.output, &listed, || {
        let (mut rows, mut newest) = (list("revocations"), 0);
        for row in &mut rows {
            newest = number(row, "revision").max(newest);
            let (applied, waiting) = (number(row, "applied"), number(row, "waiting"));
            let reason = printable(text(row, "/reason"));
            if let Some(members) = row.as_object_mut() {
                members.insert("sidecars".into(), format!("{applied} of {}", applied + waiting).into());
                members.insert("reason".into(), reason.into());
            }
        }
        let columns = [
            ("KIND", "/kind"),
            ("WHAT", "/what"),
            ("SINCE (UNIX)", "/since"),
            ("UNTIL (UNIX)", "/until"),
            ("REVISION", "/revision"),
            ("APPLIED BY SIDECARS", "/sidecars"),
            ("REASON", "/reason"),
        ];
        let mut sidecars = list("sidecars");
        sidecars.retain(|sidecar| number(sidecar, "applied_revision") < newest);
        let mut shown = table(&rows, &columns);
        if !sidecars.is_empty() {
            let columns =
                [("SIDECAR OF", "/spiffe_id"), ("AGENT", "/agent"), ("APPLIED UP TO REVISION", "/applied_revision")];
            shown.push_str(&format!("\n\nnot yet applied by\n{}", table(&sidecars, &columns)));
        }
        shown
    })
}

async fn create(global: &Global, rest: &Rest, new: New) -> Result<(), Failure> {
    let What { spiffe_id, serial, entry, agent_id } = new.what;
    let mut request = json!({
        "spiffe_id": spiffe_id, "serial": serial, "entry": entry, "agent": agent_id, "reason": new.reason, "dry_run": true,
    });
    let plan = rest.send(Method::POST, "/v1/revocations", &request).await?;
    confirm(&plan, new.yes)?;
    if let Some(members) = request.as_object_mut() {
        members.insert("dry_run".into(), false.into());
    }
    let made = rest.send(Method::POST, "/v1/revocations", &request).await?;
    print(global.output, &made, || {
        let revision = made.get("revision").and_then(Value::as_u64).unwrap_or(0);
        format!("revoked {} {} (revision {revision})", text(&made, "/kind"), text(&made, "/what"))
    })
}

/// Shows what it cuts off, and asks.
fn confirm(plan: &Value, yes: bool) -> Result<(), Failure> {
    let cuts = plan.get("cuts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let cuts: String = cuts.map(|cut| format!("  {}\n", printable(cut))).collect();
    let cuts = if cuts.is_empty() { "  no identity that is registered now\n".to_owned() } else { cuts };
    let mut error = std::io::stderr();
    let _unread = writeln!(error, "cuts off:\n{cuts}{}", text(plan, "/then"));
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "nothing was revoked: confirm it on a terminal, or see `--help` for scripts",
        ));
    }
    let _unread = write!(error, "Type `revoke` to go on: ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    if answer.trim() == "revoke" { Ok(()) } else { Err(Failure::new(Exit::Denied, "nothing was revoked")) }
}
