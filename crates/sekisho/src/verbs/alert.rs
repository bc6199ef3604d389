use clap::Subcommand;
use sekisho_api::{AlertForm, AlertsQuery, ChangesForm, ChangesQuery};
use sekisho_types::UnixTime;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, line, print, printable, printable_json, table};
use crate::rest::Rest;
use crate::view::View;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertVerb {
    /// List the newest alerts
    #[command(alias = "ls", after_help = "Examples:\n  sekisho alert list\n  sekisho alert list --follow -o json")]
    List {
        /// How many at most
        #[arg(
            long,
            env = "SEKISHO_LIMIT",
            default_value_t = 20,
            value_parser = clap::value_parser!(u32).range(1..=1000)
        )]
        limit: u32,
        /// Then print each new one as it comes, one a line
        #[arg(short, long, env = "SEKISHO_FOLLOW")]
        follow: bool,
    },
}

pub(crate) async fn run(global: &Global, verb: AlertVerb) -> Result<Exit, Failure> {
    let (rest, AlertVerb::List { limit, follow }) = (Rest::of(global), verb);
    let query = AlertsQuery { after: None, limit: Some(limit) };
    let alerts: Vec<AlertForm> = rest.find("/v1/alerts", &query).await?;
    if follow {
        return go_on(global, &rest, alerts).await;
    }
    let view = View::of(global, &rest).await;
    let columns: [Column<'_, AlertForm>; 5] = [
        ("AT", &|alert| UnixTime::from_millis(alert.at_ms).to_string()),
        ("SEVERITY", &|alert| alert.severity.clone()),
        ("WHAT", &|alert| alert.kind.clone()),
        ("AGENT", &|alert| view.spiffe_id(&alert.agent_id)),
        ("REASON", &reason),
    ];
    print(global.output, &alerts, || table(&alerts, &columns))?;
    Ok(Exit::Ok)
}

/// With how many alerts of its agent came before it and are no longer kept.
fn reason(alert: &AlertForm) -> String {
    match alert.earlier {
        0 => alert.reason.clone(),
        earlier => format!("{} (and {earlier} earlier alerts of this agent)", alert.reason),
    }
}

/// Prints these and each that follows. Ends only when the server is gone.
async fn go_on(global: &Global, rest: &Rest, mut alerts: Vec<AlertForm>) -> Result<Exit, Failure> {
    // Before all ids.
    let (mut after, mut seen) = ("alr".to_owned(), None);
    loop {
        for alert in alerts {
            line(&one_line(global, &alert)?)?;
            after = alert.id;
        }
        // Before they are listed, so that no change is missed in between.
        let ChangesForm { sequence, .. } = rest.find("/v1/changes", &ChangesQuery { after: seen }).await?;
        let query = AlertsQuery { after: Some(after.clone()), limit: Some(1000) };
        (alerts, seen) = (rest.find("/v1/alerts", &query).await?, Some(sequence));
    }
}

fn one_line(global: &Global, alert: &AlertForm) -> Result<String, Failure> {
    if !global.output.is_for_people() {
        return serde_json::to_string(alert).map(|text| printable_json(&text)).map_err(Failure::failed);
    }
    let AlertForm { at_ms, severity, kind, agent_id, .. } = alert;
    Ok(format!("{} {severity} {kind}: {agent_id}: {}", UnixTime::from_millis(*at_ms), printable(&reason(alert))))
}
