use std::collections::BTreeMap;

use clap::Subcommand;
use sekisho_api::{IdentitiesQuery, IdentityForm};
use sekisho_identity::{leaf_facts, split_chain};
use sekisho_proto::workload::{JwtsvidRequest, X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::ClaimValue;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, or_dash, print, table};
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
            let svids: Vec<Option<Svid>> =
                message.svids.iter().map(|svid| describe(&svid.x509_svid, &svid.hint)).collect();
            let columns: [Column<Option<Svid>>; 3] = [
                ("SPIFFE ID", |svid| or_dash(svid.as_ref().map(|svid| &svid.spiffe_id))),
                ("EXPIRES", |svid| or_dash(svid.as_ref().map(|svid| &svid.not_after))),
                ("CLAIMS", |svid| or_dash(svid.as_ref().map(|svid| json!(svid.claims)))),
            ];
            print(global.output, &svids, || table(&svids, &columns))?;
        }
        SvidVerb::Jwt { audience } => {
            let request = JwtsvidRequest { audience, spiffe_id: String::new() };
            let svids = agent.fetch_jwtsvid(request).await.map_err(failed)?.into_inner().svids;
            let svids: Vec<Token> =
                svids.into_iter().map(|svid| Token { spiffe_id: svid.spiffe_id, token: svid.svid }).collect();
            let columns: [Column<Token>; 2] =
                [("SPIFFE ID", |svid| svid.spiffe_id.clone()), ("TOKEN", |svid| svid.token.clone())];
            print(global.output, &svids, || table(&svids, &columns))?;
        }
        SvidVerb::List { limit } => {
            let query = IdentitiesQuery { limit: Some(limit) };
            let listed: Vec<IdentityForm> = Rest::new(&global.server_socket()).find("/v1/identities", &query).await?;
            let columns: [Column<IdentityForm>; 4] = [
                ("ID", |row| row.id.clone()),
                ("KIND", |row| row.kind.clone()),
                ("SPIFFE ID", |row| row.spiffe_id.clone()),
                ("LOG INDEX", |row| row.log_index.to_string()),
            ];
            print(global.output, &listed, || table(&listed, &columns))?;
        }
    }
    Ok(Exit::Ok)
}

/// An X.509-SVID as it is shown, without its key.
#[derive(Serialize)]
struct Svid {
    spiffe_id: String,
    serial: String,
    not_before: String,
    not_after: String,
    claims: BTreeMap<String, Value>,
    hint: String,
}

#[derive(Serialize)]
struct Token {
    spiffe_id: String,
    token: String,
}

fn describe(chain: &[u8], hint: &str) -> Option<Svid> {
    let facts = leaf_facts(split_chain(chain).ok()?.first()?).ok()?;
    let claim = |value: &ClaimValue| match value {
        ClaimValue::Bool(flag) => json!(flag),
        ClaimValue::Integer(number) => json!(number),
        ClaimValue::Text(text) => json!(text),
    };
    Some(Svid {
        spiffe_id: facts.spiffe_id.to_string(),
        serial: facts.serial,
        not_before: facts.not_before.to_string(),
        not_after: facts.not_after.to_string(),
        claims: facts.claims.iter().map(|(name, value)| (name.to_owned(), claim(value))).collect(),
        hint: hint.to_owned(),
    })
}
