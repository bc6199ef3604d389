//! A record as a person sees it.

use sekisho_api::DecisionForm;
use sekisho_events::NodeEvent;
use sekisho_policy::{Recorded, Unmet};
use sekisho_types::UnixTime;

use crate::output::{Column, mark, printable, table};
use crate::view::View;

/// The records of a listing.
pub(super) fn text(listed: &[DecisionForm], view: &View) -> String {
    let rows: Vec<Row> = listed.iter().map(|form| Row::of(form, view)).collect();
    let columns: [Column<'_, Row>; 7] = [
        ("TIME", &|row| row.time.clone()),
        ("EFFECT", &|row| row.effect.clone()),
        ("SOURCE", &|row| row.source.clone()),
        ("DESTINATION", &|row| row.destination.clone()),
        ("REQUEST", &|row| row.request.clone()),
        ("RULE", &|row| row.rule.clone()),
        ("ID", &|row| row.id.clone()),
    ];
    table(&rows, &columns)
}

/// A record in one line, with the time at which it was made (UTC).
pub(crate) fn line(form: &DecisionForm, view: &View) -> String {
    let Row { effect, source, destination, request, rule, id, .. } = Row::of(form, view);
    let (.., hour, minute, second) = UnixTime::from_millis(form.at_ms).civil();
    format!("{hour:02}:{minute:02}:{second:02} {effect:<9} {source} → {destination}  {request}  {rule}  {id}")
}

/// What a person sees of a record in one line.
struct Row {
    time: String,
    effect: String,
    source: String,
    destination: String,
    request: String,
    rule: String,
    id: String,
}

impl Row {
    fn of(form: &DecisionForm, view: &View) -> Self {
        let (id, time) = (view.id(&form.id), view.ago(UnixTime::from_millis(form.at_ms)));
        let effect = format!("{} {}", mark(form.effect == "allow"), form.effect);
        let dash = || "-".to_owned();
        let (source, destination, request, rule) = match form.read() {
            Ok(NodeEvent::Decided(decided)) => {
                let asked = &decided.recorded.request;
                (
                    view.spiffe_id(asked.subject.spiffe_id.as_str()),
                    view.spiffe_id(asked.destination.as_str()),
                    format!("{} {}", printable(&asked.method), printable(&asked.joined_path())),
                    reason(&decided.recorded),
                )
            }
            Ok(NodeEvent::NoIdentity(refused)) => {
                let nearest = refused.nearest.as_ref().map(|near| view.spiffe_id(near.spiffe_id.as_str()));
                let differs = refused.nearest.iter().flat_map(|near| &near.differences);
                let differs: Vec<String> = differs.map(|difference| printable(difference.wants.as_str())).collect();
                let lacks =
                    if differs.is_empty() { printable(&refused.what) } else { format!("lacks {}", differs.join(", ")) };
                (format!("pid {}", refused.pid), nearest.unwrap_or_else(dash), "identity".to_owned(), lacks)
            }
            Ok(NodeEvent::PeerRefused(refused)) => {
                let destination = view.spiffe_id(refused.destination.as_str());
                (
                    view.spiffe_id(&printable(&refused.peer)),
                    destination,
                    printable(&refused.what),
                    printable(&refused.reason),
                )
            }
            Ok(NodeEvent::CallRefused(refused)) => {
                let call = refused.call.as_deref().map_or_else(|| "call".to_owned(), printable);
                (format!("pid {}", refused.pid), "agent".to_owned(), call, printable(&refused.what))
            }
            Err(_) => (dash(), dash(), dash(), "of another version".to_owned()),
        };
        Self { time, effect, source, destination, request, rule, id }
    }
}

/// The rule that decided, or the condition of the nearest one that does not hold.
fn reason(recorded: &Recorded) -> String {
    if let Some(error) = &recorded.decision.error {
        return printable(error);
    }
    let Some(rule) = &recorded.decision.rule else {
        return if recorded.policy_revision == 0 { "no policy yet".to_owned() } else { "no rule".to_owned() };
    };
    match rule.unmet.first() {
        None => rule.place(),
        Some(Unmet { condition, found, .. }) => {
            let found = found.as_deref().map(|found| format!(", found {}", printable(found))).unwrap_or_default();
            format!("{}: {}{found}", rule.place(), printable(condition))
        }
    }
}
