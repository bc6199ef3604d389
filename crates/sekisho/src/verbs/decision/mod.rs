//! `decision`: what sidecars decided, and what nodes refused.

mod filter;
mod follow;
mod row;

use clap::{Args, Subcommand};
use sekisho_api::{DecisionForm, DecisionsQuery};

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::print;
use crate::progress::Progress;
use crate::rest::Rest;
use crate::verbs::why;
use crate::view::View;

pub(crate) use filter::{Filter, ends, is_service};
pub(crate) use follow::{Shown, follow};
pub(crate) use row::line;

/// Records that are looked through for those that a filter wants, in pages.
const PAGE: u32 = 1000;
const PAGES: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum DecisionVerb {
    /// List decisions and refusals, newest first; with `--follow`, new ones are added at the end
    #[command(
        alias = "ls",
        after_help = "Examples:\n  sekisho decision list --effect deny --since 1h\n  sekisho decision list --follow \
            --destination shop"
    )]
    List(ListArgs),
    /// Show one decision with its rule and conditions, as `why` does
    #[command(alias = "get", after_help = "Example:\n  sekisho decision show dec_0193ab4f6c2d1a2b")]
    Show {
        /// Its id, or a unique prefix of it
        #[arg(add = complete::records())]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Number of the newest to list
    #[arg(long, env = "SEKISHO_LIMIT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue with each new one
    #[arg(short, long, env = "SEKISHO_FOLLOW")]
    follow: bool,
}

pub(crate) async fn run(global: &Global, verb: DecisionVerb) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    match verb {
        DecisionVerb::List(ListArgs { filter, limit, follow: false }) => {
            let listed = newest(&rest, &filter, limit).await?;
            let view = View::of(global, &rest).await;
            print(global.output, &listed, || row::text(&listed, &view))?;
            Ok(Exit::Ok)
        }
        DecisionVerb::List(ListArgs { filter, limit, follow: true }) => {
            // Before it is listed, so that none is missed in between.
            let lines = rest.follow("/v1/decisions/follow").await?;
            let listed = newest(&rest, &filter, limit).await?;
            let shown = Shown::new(global, View::of(global, &rest).await);
            follow(lines, &filter, listed, |form| shown.print(form)).await
        }
        DecisionVerb::Show { id } => why::explain(global, &rest, &ids::record(&rest, &id).await?).await,
    }
}

/// The newest records that a filter wants, newest first.
async fn newest(rest: &Rest, filter: &Filter, limit: u32) -> Result<Vec<DecisionForm>, Failure> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = if filter.is_of_effect_only() { limit.min(PAGE) } else { PAGE };
    let _progress = Progress::of("looking through decisions");
    let (mut out, mut before) = (vec![], None);
    for _ in 0..PAGES {
        let query = DecisionsQuery { effect: filter.effect().map(str::to_owned), before, limit: Some(page) };
        let rows: Vec<DecisionForm> = rest.find("/v1/decisions", &query).await?;
        let Some(oldest) = rows.last().cloned() else { break };
        out.extend(rows.into_iter().filter(|form| filter.wants(form)));
        if out.len() >= wanted || filter.is_before(oldest.at_ms) {
            break;
        }
        before = Some(oldest.id);
    }
    out.truncate(wanted);
    Ok(out)
}
