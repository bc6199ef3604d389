use std::collections::BTreeMap;

use clap::Subcommand;
use sekisho_api::{IdentitiesQuery, IdentityForm};
use sekisho_identity::{leaf_facts, split_chain};
use sekisho_proto::workload::{JwtsvidRequest, X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use sekisho_sdk::agent_channel;
use sekisho_types::{ClaimValue, UnixTime};
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::global::{AgentSocket, Global, ServerSocket};
use crate::output::{Column, or_dash, print, table};
use crate::reach;
use crate::rest::Rest;
use crate::view::View;

#[derive(Debug, Subcommand)]
pub(crate) enum SvidVerb {
    /// Fetch the X.509-SVIDs of this process from the agent, and show them without their keys
    #[command(after_help = "Example:\n  sekisho svid fetch")]
    Fetch(AgentSocket),
    /// Fetch a JWT-SVID of this process
    #[command(after_help = "Example:\n  sekisho svid jwt --audience spiffe://prod.internal/shop")]
    Jwt {
        #[command(flatten)]
        asks: AgentSocket,
        /// Audience of the token: the service that will verify it
        #[arg(long, env = "SEKISHO_AUDIENCE", required = true, value_delimiter = ',')]
        audience: Vec<String>,
    },
    /// Keep the X.509-SVID of this process in files, and notify a program of each change
    Watch(Box<super::watch::WatchArgs>),
    /// List what was attested and issued, newest first
    #[command(alias = "ls", after_help = "Example:\n  sekisho svid list --limit 50")]
    List {
        #[command(flatten)]
        asks: ServerSocket,
        /// Number of the newest to list
        #[arg(long, env = "SEKISHO_LIMIT", default_value_t = 20)]
        limit: u32,
    },
}

pub(crate) async fn run(mut global: Global, verb: SvidVerb) -> Result<Exit, Failure> {
    match verb {
        SvidVerb::Fetch(asks) => {
            global.agent_socket = asks.agent_socket;
            let socket = global.agent_socket();
            let mut agent = SpiffeWorkloadApiClient::new(agent_channel(&socket));
            let failed = |status: tonic::Status| reach::status(&socket, &status);
            let mut stream = agent.fetch_x509svid(X509svidRequest {}).await.map_err(failed)?.into_inner();
            let message = stream.message().await.map_err(failed)?.unwrap_or_default();
            let svids: Vec<Option<Svid>> =
                message.svids.iter().map(|svid| describe(&svid.x509_svid, &svid.hint)).collect();
            let columns: [Column<'_, Option<Svid>>; 3] = [
                ("SPIFFE ID", &|svid| or_dash(svid.as_ref().map(|svid| &svid.spiffe_id))),
                ("EXPIRES", &|svid| or_dash(svid.as_ref().map(|svid| UnixTime::from_millis(svid.not_after_ms)))),
                ("CLAIMS", &|svid| or_dash(svid.as_ref().map(|svid| json!(svid.claims)))),
            ];
            print(global.output, &svids, || table(&svids, &columns))?;
        }
        SvidVerb::Jwt { asks, audience } => {
            global.agent_socket = asks.agent_socket;
            let socket = global.agent_socket();
            let mut agent = SpiffeWorkloadApiClient::new(agent_channel(&socket));
            let failed = |status: tonic::Status| reach::status(&socket, &status);
            let request = JwtsvidRequest { audience, spiffe_id: String::new() };
            let svids = agent.fetch_jwtsvid(request).await.map_err(failed)?.into_inner().svids;
            let svids: Vec<Token> =
                svids.into_iter().map(|svid| Token { spiffe_id: svid.spiffe_id, token: svid.svid }).collect();
            // A token that is broken over lines cannot be pasted.
            print(global.output, &svids, || {
                svids.iter().map(|svid| format!("{}\n{}\n", svid.spiffe_id, svid.token)).collect()
            })?;
        }
        SvidVerb::Watch(args) => return super::watch::run(*args).await,
        SvidVerb::List { asks, limit } => {
            global.server_socket = asks.server_socket;
            list(&global, limit).await?;
        }
    }
    Ok(Exit::Ok)
}

async fn list(global: &Global, limit: u32) -> Result<(), Failure> {
    let query = IdentitiesQuery { limit: Some(limit) };
    let rest = Rest::of(global);
    let listed: Vec<IdentityForm> = rest.find("/v1/identities", &query).await?;
    let view = View::of(global, &rest).await;
    let columns: [Column<'_, IdentityForm>; 6] = [
        ("AGE", &|row| view.ago(UnixTime::from_millis(row.at_ms))),
        ("KIND", &|row| row.kind.clone()),
        ("ID", &|row| view.id(&row.id)),
        ("SPIFFE ID", &|row| view.spiffe_id(&row.spiffe_id)),
        ("ENDS", &|row| or_dash(row.ends_at_ms.map(|end| view.left(UnixTime::from_millis(end))))),
        ("LEAF", &|row| row.log_index.to_string()),
    ];
    print(global.output, &listed, || table(&listed, &columns))
}

/// An X.509-SVID as it is shown, without its key.
#[derive(Serialize)]
struct Svid {
    spiffe_id: String,
    serial: String,
    not_before_ms: i64,
    not_after_ms: i64,
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
        ClaimValue::List(texts) => json!(texts),
    };
    Some(Svid {
        spiffe_id: facts.spiffe_id.to_string(),
        serial: facts.serial,
        not_before_ms: facts.not_before.millis(),
        not_after_ms: facts.not_after.millis(),
        claims: facts.claims.iter().map(|(name, value)| (name.to_owned(), claim(value))).collect(),
        hint: hint.to_owned(),
    })
}
