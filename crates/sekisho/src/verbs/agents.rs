use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table};
use crate::rest::Rest;

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
            let listed = rest.get("/v1/agents").await?;
            let agents = listed.get("agents").and_then(Value::as_array).cloned().unwrap_or_default();
            let columns = [
                ("AGENT", "/id"),
                ("ATTESTED BY", "/attestation_type"),
                ("BANNED", "/banned"),
                ("VERSION", "/version"),
            ];
            print(global.output, &json!(agents), || table(&agents, &columns))?;
        }
        AgentsVerb::Ban { id } => {
            rest.send(Method::POST, "/v1/agents/ban", &json!({"id": id})).await?;
            print(global.output, &json!({"banned": id}), || format!("banned {id}"))?;
        }
        AgentsVerb::Evict { id } => {
            rest.delete(&format!("/v1/agents?id={id}")).await?;
            print(global.output, &json!({"evicted": id}), || format!("evicted {id}"))?;
        }
    }
    Ok(Exit::Ok)
}
