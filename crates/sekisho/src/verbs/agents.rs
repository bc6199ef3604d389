use clap::Subcommand;
use hyper::Method;
use sekisho_api::{AgentForm, AgentList, AgentRef};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, print, table};
use crate::rest::{Rest, with_query};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsVerb {
    /// List attested agents
    #[command(alias = "ls")]
    List,
    /// Ban an agent: it stays known and gets no identity any more
    Ban { id: String },
    /// Evict an agent: it must attest again
    Evict { id: String },
}

pub(crate) async fn run(global: &Global, verb: AgentsVerb) -> Result<Exit, Failure> {
    let rest = Rest::new(&global.server_socket());
    match verb {
        AgentsVerb::List => {
            let AgentList { agents } = rest.get("/v1/agents").await?;
            let columns: [Column<AgentForm>; 4] = [
                ("AGENT", |agent| agent.id.clone()),
                ("ATTESTED BY", |agent| agent.attestation_type.clone()),
                ("BANNED", |agent| agent.banned.to_string()),
                ("VERSION", |agent| agent.version.clone()),
            ];
            print(global.output, &agents, || table(&agents, &columns))?;
        }
        AgentsVerb::Ban { id } => {
            let agent = AgentRef { id };
            rest.order(Method::POST, "/v1/agents/ban", &agent).await?;
            let AgentRef { id } = agent;
            print(global.output, &json!({"banned": id}), || format!("banned {id}"))?;
        }
        AgentsVerb::Evict { id } => {
            let agent = AgentRef { id };
            rest.delete(&with_query("/v1/agents", &agent)?).await?;
            let AgentRef { id } = agent;
            print(global.output, &json!({"evicted": id}), || format!("evicted {id}"))?;
        }
    }
    Ok(Exit::Ok)
}
