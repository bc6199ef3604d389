use std::sync::Arc;

use clap::{Args, ValueEnum};
use sekisho_api::{DecisionForm, DecisionsQuery};
use sekisho_events::NodeEvent;
use sekisho_policy::RequestInput;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, or_dash, print, printable, table};
use crate::rest::Rest;

#[derive(Debug, Args)]
pub(crate) struct DecisionsArgs {
    /// Only these
    #[arg(long, env = "SEKISHO_EFFECT", value_enum)]
    effect: Option<Effect>,
    #[arg(long, env = "SEKISHO_LIMIT", default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Effect {
    Allow,
    Deny,
    /// A process that got no identity
    Refusal,
}

pub(crate) async fn run(global: &Global, args: DecisionsArgs) -> Result<Exit, Failure> {
    let effect = args.effect.map(|effect| match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Refusal => "refusal",
    });
    let query = DecisionsQuery { effect: effect.map(str::to_owned), limit: Some(args.limit), ..Default::default() };
    let listed: Vec<DecisionForm> = Rest::new(&global.server_socket()).find("/v1/decisions", &query).await?;
    let columns: [Column<DecisionForm>; 6] = [
        ("ID", |row| row.id.clone()),
        ("EFFECT", |row| row.effect.clone()),
        ("METHOD", |row| or_dash(request(row).map(|request| printable(&request.method)))),
        ("PATH", |row| or_dash(request(row).map(|request| printable(&request.joined_path())))),
        ("SUBJECT", |row| or_dash(request(row).map(|request| request.subject.spiffe_id.clone()))),
        ("LOG INDEX", |row| row.log_index.to_string()),
    ];
    print(global.output, &listed, || table(&listed, &columns))?;
    Ok(Exit::Ok)
}

/// What a decision was asked; a refusal has none.
fn request(row: &DecisionForm) -> Option<Arc<RequestInput>> {
    match row.read() {
        Ok(NodeEvent::Decided(decided)) => Some(decided.recorded.request),
        _ => None,
    }
}
