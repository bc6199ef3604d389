//! Attacks with the answers of a node's TPM. The server plays them; nothing of them reaches the node's standing.

use hyper::Method;
use sekisho_api::{AgentForm, AgentList, AlertForm, AlertsQuery, DrillForm, DrillKind, DrillRef};
use sekisho_runtime::instant;
use serde::Serialize;

use super::patience::{LOOK_EVERY, PATIENCE};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{print, printable};
use crate::progress::Progress;
use crate::rest::Rest;

/// Alerts among which the drill's own is looked for.
const NEWEST: u32 = 100;
/// Nodes that can show their state.
const ATTESTORS: [&str; 2] = ["tpm", "danger_software_tpm"];

/// What came of it.
#[derive(Serialize)]
struct Drilled {
    drill: String,
    agent_id: String,
    /// From the begin of the attack to the verdict, as the server measured it.
    refused_after_ms: f64,
    /// From the request for the drill until its alert was listed.
    alerted_after_ms: u128,
    reason: String,
    alert: String,
}

pub(super) async fn run(global: &Global, kind: DrillKind, id: Option<String>) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    let agent_id = agent(&rest, id).await?.id;
    let progress = Progress::of("waiting for the node's TPM");
    let began = instant();
    let asked = DrillRef { id: agent_id.clone(), drill: kind };
    let form: DrillForm = rest.send(Method::POST, "/v1/drills", &asked).await?;
    let (Some(reason), Some(after)) = (form.reason, form.refused_after_us) else {
        let alert = form.alert;
        let why =
            format!("the attack passed: this server takes what it has to refuse; see alert {alert}, and report it");
        return Err(Failure::new(Exit::Denied, why));
    };
    let listed = async {
        while !is_listed(&rest, &form.alert).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok::<_, Failure>(())
    };
    let late = |_| Failure::new(Exit::Denied, "its alert is not listed; see `sekisho doctor`");
    tokio::time::timeout(PATIENCE, listed).await.map_err(late)??;
    drop(progress);
    let drilled = Drilled {
        drill: kind.to_string(),
        agent_id,
        refused_after_ms: after as f64 / 1000.0,
        alerted_after_ms: began.elapsed().as_millis(),
        reason,
        alert: form.alert,
    };
    print(global.output, &drilled, || describe(&drilled, kind))?;
    Ok(Exit::Ok)
}

fn describe(drilled: &Drilled, kind: DrillKind) -> String {
    let what = match kind {
        DrillKind::ReplayQuote => "replayed quote",
        DrillKind::SwapTpm => "answer of another TPM",
    };
    let Drilled { refused_after_ms, alerted_after_ms, reason, alert, agent_id, .. } = drilled;
    format!(
        "{what}: refused after {refused_after_ms} ms; alerted after {alerted_after_ms} ms: {alert}\n\
         {}\n{agent_id} stays attested\n",
        printable(reason)
    )
}

/// The agent that is named, or the only one whose node has a TPM.
async fn agent(rest: &Rest, id: Option<String>) -> Result<AgentForm, Failure> {
    let agent = match id {
        Some(id) => ids::agent(rest, &id).await?,
        None => {
            let AgentList { agents } = rest.get("/v1/agents").await?;
            let mut usable = agents.into_iter().filter(|agent| can_be_asked(agent) && !agent.banned);
            let none = "no agent is attested by a TPM, so this drill cannot run; start one with `--tpm`, or see \
                `sekisho agent list`";
            let first = usable.next().ok_or_else(|| Failure::failed(none))?;
            if usable.next().is_some() {
                let why = "several agents are attested by a TPM; name one of those that `sekisho agent list` shows";
                return Err(Failure::new(Exit::Usage, why));
            }
            first
        }
    };
    if can_be_asked(&agent) {
        return Ok(agent);
    }
    let AgentForm { id, attestation_type, .. } = agent;
    Err(Failure::failed(format!(
        "agent `{id}` attested by {attestation_type}, so this drill cannot run: only a node with a TPM shows its state"
    )))
}

fn can_be_asked(agent: &AgentForm) -> bool {
    ATTESTORS.contains(&agent.attestation_type.as_str())
}

async fn is_listed(rest: &Rest, alert: &str) -> Result<bool, Failure> {
    let alerts: Vec<AlertForm> = rest.find("/v1/alerts", &AlertsQuery { after: None, limit: Some(NEWEST) }).await?;
    Ok(alerts.iter().any(|listed| listed.id == alert))
}
