use std::path::Path;

use clap::Subcommand;
use sekisho_kernel::InForce;
use sekisho_kernel::records::{self, Record, RuleRecord};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, Format, print, table};

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// List the rules of each workload with their receipts; exit code 2 if one is not in the kernel
    #[command(visible_alias = "ls", after_help = "Examples:\n  sekisho network list\n  sekisho network list -o json")]
    List,
}

pub(crate) fn run(global: &Global, verb: &NetworkVerb) -> Result<Exit, Failure> {
    let NetworkVerb::List = verb;
    let records = records::read(Path::new(records::FOLDER)).map_err(Failure::failed)?;
    let states: Vec<(&Record, &RuleRecord, InForce)> = records
        .iter()
        .flat_map(|record| record.rules.iter().map(move |rule| (record, rule, rule.in_force(record.number))))
        .collect();
    print(global.output, &document(&records, &states), || text(&records, &states, global.output))?;
    let all = states.iter().all(|(_, _, state)| *state != InForce::No);
    Ok(if all { Exit::Ok } else { Exit::Denied })
}

/// The state of a rule, as the kernel tells it at this moment.
pub(super) const fn word(state: &InForce) -> &'static str {
    match state {
        InForce::Yes { .. } => "in force",
        InForce::No => "NOT IN FORCE",
        InForce::Unknown(_) => "not checked",
    }
}

fn document(records: &[Record], states: &[(&Record, &RuleRecord, InForce)]) -> Value {
    let workloads = records.iter().map(|record| {
        let rules = states.iter().filter(|(of, ..)| of.number == record.number).map(|(_, rule, state)| {
            let mut document = json!(rule);
            if let Some(members) = document.as_object_mut() {
                members.insert("state".to_owned(), word(state).to_lowercase().replace(' ', "_").into());
            }
            document
        });
        let mut document = json!(record);
        if let Some(members) = document.as_object_mut() {
            members.insert("rules".to_owned(), rules.collect());
        }
        document
    });
    workloads.collect()
}

fn text(records: &[Record], states: &[(&Record, &RuleRecord, InForce)], format: Format) -> String {
    type Row<'a> = (&'a Record, &'a RuleRecord, InForce);
    let columns: [Column<'_, Row<'_>>; 6] = [
        ("WORKLOAD", &|(record, ..)| record.spiffe_id.clone()),
        ("RULE", &|(_, rule, _)| rule.rule.clone()),
        ("VERDICT", &|(_, rule, _)| if rule.allows { "allow" } else { "deny" }.to_owned()),
        ("FLOWS", &|(_, rule, _)| (rule.allowed + rule.denied).to_string()),
        ("STATE", &|(_, _, state)| word(state).to_owned()),
        ("RECEIPT", &|(_, rule, _)| receipt(rule, format)),
    ];
    let mut lines = vec![table(states, &columns)];
    for record in records {
        let Record { spiffe_id, judged, denied, kernel, .. } = record;
        lines.push(format!("\n{spiffe_id}: {judged} flows judged, {denied} refused (Linux {kernel})"));
        lines.extend(record.not_enforced.iter().map(|what| format!("  not enforced: {what}")));
    }
    lines.join("\n")
}

/// Programs with their tags and links, and the table with its digest.
fn receipt(rule: &RuleRecord, format: Format) -> String {
    let short = |text: &str| if format == Format::Wide { text.to_owned() } else { text.chars().take(8).collect() };
    let points = rule.points.iter().map(|point| format!("{} {} link {}", point.hook, short(&point.tag), point.link));
    let points: Vec<String> = points.collect();
    format!("{}; map {} {}", points.join(", "), rule.map, short(&rule.digest))
}
