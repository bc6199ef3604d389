use clap::Subcommand;
use sekisho_identity::{leaf_facts, split_chain};
use sekisho_proto::workload::{JwtsvidRequest, X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::ClaimValue;
use serde_json::{Map, Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::{print, table};
use crate::rest::Rest;

#[derive(Debug, Subcommand)]
pub(crate) enum SvidVerb {
    /// Fetch the X.509-SVIDs of this very process from the agent, and show them without their keys
    Fetch,
    /// Fetch a JWT-SVID of this very process
    Jwt {
        /// Whom the token is for
        #[arg(long, env = "SEKISHO_AUDIENCE", required = true, value_delimiter = ',')]
        audience: Vec<String>,
    },
    /// List what was attested and issued, newest first
    #[command(alias = "ls")]
    List {
        #[arg(long, env = "SEKISHO_LIMIT", default_value_t = 20)]
        limit: u32,
    },
}

pub(crate) async fn run(global: &Global, verb: SvidVerb) -> Result<Exit, Failure> {
    let socket = global.agent_socket();
    let mut agent = SpiffeWorkloadApiClient::new(agent_channel(&socket));
    let failed = |status: tonic::Status| Failure::status(&socket, &status);
    match verb {
        SvidVerb::Fetch => {
            let mut stream = agent.fetch_x509svid(X509svidRequest {}).await.map_err(failed)?.into_inner();
            let message = stream.message().await.map_err(failed)?.unwrap_or_default();
            let svids: Vec<Value> = message.svids.iter().map(|svid| describe(&svid.x509_svid, &svid.hint)).collect();
            let columns = [("SPIFFE ID", "/spiffe_id"), ("EXPIRES", "/not_after"), ("CLAIMS", "/claims")];
            print(global.output, &json!(svids), || table(&svids, &columns))?;
        }
        SvidVerb::Jwt { audience } => {
            let request = JwtsvidRequest { audience, spiffe_id: String::new() };
            let svids = agent.fetch_jwtsvid(request).await.map_err(failed)?.into_inner().svids;
            let svids: Vec<Value> =
                svids.iter().map(|svid| json!({"spiffe_id": svid.spiffe_id, "token": svid.svid})).collect();
            print(global.output, &json!(svids), || table(&svids, &[("SPIFFE ID", "/spiffe_id"), ("TOKEN", "/token")]))?;
        }
        SvidVerb::List { limit } => {
            let listed = Rest::new(&global.server_socket()).get(&format!("/v1/identities?limit={limit}")).await?;
            let rows = listed.as_array().cloned().unwrap_or_default();
            let columns = [("ID", "/id"), ("KIND", "/kind"), ("SPIFFE ID", "/spiffe_id"), ("LOG INDEX", "/log_index")];
            print(global.output, &listed, || table(&rows, &columns))?;
        }
    }
    Ok(Exit::Ok)
}

fn describe(chain: &[u8], hint: &str) -> Value {
    let facts = split_chain(chain).ok().and_then(|chain| leaf_facts(chain.first()?).ok());
    let Some(facts) = facts else { return Value::Null };
    let claims: Map<String, Value> = facts
        .claims
        .iter()
        .map(|(name, value)| {
            let value = match value {
                ClaimValue::Bool(flag) => json!(flag),
                ClaimValue::Integer(number) => json!(number),
                ClaimValue::Text(text) => json!(text),
            };
            (name.to_owned(), value)
        })
        .collect();
    json!({
        "spiffe_id": facts.spiffe_id.to_string(),
        "serial": facts.serial,
        "not_before": facts.not_before.to_string(),
        "not_after": facts.not_after.to_string(),
        "claims": claims,
        "hint": hint,
    })
}
