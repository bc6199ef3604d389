//! Why a process has an identity or none, and what an operator can do about it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sekisho_api::EntryForm;
use sekisho_events::NoIdentity;
use sekisho_evidence::check_selector;
use sekisho_identity::{Advice, Difference, Entry, advice, near};
use sekisho_proto::node::{WhyIdentityRequest, WhyIdentityResponse, inspect_client::InspectClient};
use sekisho_proto::{entry_from_wire, selectors_from_wire, selectors_to_wire, types};
use sekisho_runtime::now;
use sekisho_sdk::agent_channel;
use sekisho_types::{EntryId, Selector};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::printable;
use crate::reach;
use crate::rest::Rest;

/// Asks the agent why a process, or these selectors, have an identity or have none.
pub(crate) async fn identity(global: &Global, pid: Option<i32>, selectors: &[String]) -> Result<Explanation, Failure> {
    let parsed = selectors.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|e| Failure::new(Exit::Usage, e))?;
    parsed.iter().try_for_each(check_selector).map_err(|e| Failure::new(Exit::Usage, e))?;
    if pid.is_none() && parsed.is_empty() {
        return Err(Failure::new(Exit::Usage, "`why identity` needs `--pid` or `--selectors`"));
    }
    let socket = global.agent_socket();
    let request = WhyIdentityRequest { pid: pid.unwrap_or(0), selectors: selectors_to_wire(&parsed) };
    let answer = InspectClient::new(agent_channel(&socket)).why_identity(request).await;
    explain(&answer.map_err(|status| reach::status(&socket, &status))?.into_inner())
}

/// Why a process has an identity or none.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// Of the process.
    selectors: Vec<String>,
    pub(crate) matched: Vec<EntryShown>,
    nearest: Option<EntryShown>,
    nearest_expired: bool,
    /// What the nearest asks for and the process does not have.
    pub(crate) differences: Vec<DifferenceShown>,
    /// The nearest first.
    entries: Vec<Compared>,
    advice: Vec<AdviceShown>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EntryShown {
    id: String,
    spiffe_id: String,
    selectors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    entry: EntryShown,
    expired: bool,
    differences: Vec<DifferenceShown>,
}

/// A selector that an entry asks for and a process does not have.
#[derive(Debug, Serialize)]
pub(crate) struct DifferenceShown {
    pub(crate) wants: String,
    pub(crate) found: Vec<String>,
}

impl DifferenceShown {
    pub(super) fn of(difference: &Difference) -> Self {
        Self { wants: difference.wants.to_string(), found: texts(&difference.found) }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AdviceShown {
    #[serde(rename = "do")]
    action: String,
    command: Option<String>,
}

fn explain(answer: &WhyIdentityResponse) -> Result<Explanation, Failure> {
    let found = selectors_from_wire(&answer.selectors).map_err(Failure::failed)?;
    let matched = read(&answer.matched)?;
    let entries = read(answer.nearest.iter().chain(&answer.others))?;
    let near = near(&entries, &found, now(), entries.len());
    let differences = |near: &sekisho_identity::Near<'_>| -> Vec<DifferenceShown> {
        near.differences.iter().map(DifferenceShown::of).collect()
    };
    let compared = |near: &sekisho_identity::Near<'_>| Compared {
        entry: EntryShown::of(near.entry),
        expired: near.expired,
        differences: differences(near),
    };
    let advised = if matched.is_empty() { advice(&near, &found) } else { vec![] };
    let parent = entries.first().map_or_else(|| answer.agent_id.clone(), |entry| entry.parent_id.to_string());
    Ok(Explanation {
        selectors: texts(&found),
        matched: matched.iter().map(EntryShown::of).collect(),
        nearest: near.first().map(|near| EntryShown::of(near.entry)),
        nearest_expired: near.first().is_some_and(|near| near.expired),
        differences: near.first().map(differences).unwrap_or_default(),
        entries: near.iter().map(compared).collect(),
        advice: advised.iter().map(|advice| in_words(advice, &parent)).collect(),
    })
}

/// What can be done for a process that was refused an identity: by its nearest entry, as the server has it now.
pub(super) async fn advice_after_refusal(rest: &Rest, refused: &NoIdentity) -> Vec<AdviceShown> {
    let entry = match &refused.nearest {
        Some(nearest) => {
            let form: Option<EntryForm> = rest.get(&format!("/v1/entries/{}", nearest.entry)).await.ok();
            form.and_then(|form| form.to_entry(&nearest.entry).ok())
        }
        None => None,
    };
    let mut out = entry.map(|entry| by_entry(&entry, refused)).unwrap_or_default();
    out.push(AdviceShown {
        action: "while it runs, compare it with all entries, on its node".to_owned(),
        command: Some(format!("sekisho why identity --pid {}", refused.pid)),
    });
    out
}

fn by_entry(entry: &Entry, refused: &NoIdentity) -> Vec<AdviceShown> {
    let found = refused.selectors.iter().cloned().collect();
    let (near, parent) = (near([entry], &found, now(), 1), entry.parent_id.to_string());
    advice(&near, &found).iter().map(|advice| in_words(advice, &parent)).collect()
}

fn read<'a>(wire: impl IntoIterator<Item = &'a types::Entry>) -> Result<Vec<Entry>, Failure> {
    let one = |wire: &types::Entry| {
        entry_from_wire(wire, &EntryId::parse(&wire.id).map_err(Failure::failed)?, None).map_err(Failure::failed)
    };
    wire.into_iter().map(one).collect()
}

impl EntryShown {
    fn of(entry: &Entry) -> Self {
        let (id, spiffe_id) = (entry.id.as_str().to_owned(), entry.spiffe_id.to_string());
        Self { id, spiffe_id, selectors: texts(&entry.selectors) }
    }
}

fn texts<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<String> {
    selectors.into_iter().map(ToString::to_string).collect()
}

/// One advice for people, and its command if it has one. Each command works when it is pasted: what it holds are ids,
/// numbers and digests, never a text that a process chose.
fn in_words(advice: &Advice<'_>, parent: &str) -> AdviceShown {
    let (action, command) = match advice {
        Advice::StartAsRegistered { entry, wants } => {
            (format!("start it as {} is registered, with {}", entry.spiffe_id, texts(wants).join(", ")), None)
        }
        Advice::ApproveDigest { entry, sha256, program } => (
            format!(
                "only if {} is a new release that you trust as {}: approve it in place of the digest that is \
                    registered",
                program.as_deref().unwrap_or("its executable"),
                entry.spiffe_id
            ),
            Some(format!("sekisho entry approve {} --sha256 {sha256}", entry.id)),
        ),
        Advice::Expired { entry } => {
            let owner = "its owner decides whether it gets a new end";
            (format!("{} has expired for {}: {owner}", entry.id, entry.spiffe_id), None)
        }
        Advice::Register { user, executable } => {
            let domain = parent.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
            (
                "to give this user's process with this executable an identity of its own, choose its NAME".to_owned(),
                Some(format!(
                    "sekisho entry create --spiffe-id spiffe://{domain}/NAME --parent-id {parent} --selector {user} \
                        --selector {executable}"
                )),
            )
        }
    };
    AdviceShown { action, command }
}

impl AdviceShown {
    pub(super) fn without_command(action: &str) -> Self {
        Self { action: action.to_owned(), command: None }
    }
}

pub(super) fn advice_lines(out: &mut String, advice: &[AdviceShown]) {
    for (place, advice) in advice.iter().enumerate() {
        let title = if place == 0 { "what can be done:\n  " } else { "  or: " };
        let _infallible = writeln!(out, "{title}{}", printable(&advice.action));
        if let Some(command) = &advice.command {
            let _infallible = writeln!(out, "    {command}");
        }
    }
}

impl Explanation {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for entry in &self.matched {
            let _infallible = writeln!(out, "matched: entry {} gives {}", entry.id, entry.spiffe_id);
        }
        if self.matched.is_empty() && self.entries.is_empty() {
            out.push_str("no entry of this node shares any selector with the process\n");
        }
        for (place, Compared { entry, expired, differences }) in self.entries.iter().enumerate() {
            let title = if place == 0 { "no entry matches; nearest" } else { "then" };
            let note = if *expired { " (expired)" } else { "" };
            let _infallible = writeln!(out, "{title}: {} for {}{note}", entry.id, entry.spiffe_id);
            difference_lines(&mut out, differences);
        }
        let selectors: BTreeSet<String> = self.selectors.iter().map(|selector| printable(selector)).collect();
        let selectors = selectors.into_iter().collect::<Vec<_>>().join("\n  ");
        let _infallible = writeln!(out, "found on the process:\n  {selectors}");
        advice_lines(&mut out, &self.advice);
        out
    }
}

pub(super) fn difference_lines(out: &mut String, differences: &[DifferenceShown]) {
    for DifferenceShown { wants, found } in differences {
        let property = Selector::parse(wants).map(|s| s.property().to_owned()).unwrap_or_default();
        let found: Vec<String> = found.iter().map(|found| printable(found)).collect();
        let found = if found.is_empty() { "nothing of the kind".to_owned() } else { found.join(", ") };
        let _infallible = writeln!(out, "  {property} differs\n    wanted: {}\n    found:  {found}", printable(wants));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};
    use crate::global::Noun;
    use crate::verbs::entry::EntryVerb;

    fn wire(id: &str, selectors: &[&str]) -> types::Entry {
        let spiffe = |path: &str| Some(types::Spiffeid { trust_domain: "td.example".into(), path: path.into() });
        let selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        types::Entry {
            id: id.into(),
            spiffe_id: spiffe("/pay"),
            parent_id: spiffe("/spire/agent/join_token/a"),
            selectors: selectors_to_wire(&selectors),
            ..Default::default()
        }
    }

    #[test]
    fn a_refusal_gets_the_advice_of_why_identity() {
        let digest = |byte: &str| Selector::parse(&format!("unix:sha256:{}", byte.repeat(32))).unwrap();
        let wanted = ["unix:uid:0".to_owned(), digest("cd").to_string()];
        let wire = wire("ent_1", &[&wanted[0], &wanted[1]]);
        let refused = NoIdentity {
            id: sekisho_events::RefusalId::new([0; 16]),
            at: now(),
            what: "no entry matches".into(),
            pid: 7,
            uid: None,
            selectors: vec![Selector::parse("unix:uid:0").unwrap(), digest("ab")],
            nearest: None,
        };
        let answer = WhyIdentityResponse {
            selectors: selectors_to_wire(&refused.selectors),
            nearest: Some(wire.clone()),
            ..Default::default()
        };
        let commands = |advice: &[AdviceShown]| advice.iter().map(|one| one.command.clone()).collect::<Vec<_>>();
        let advised = commands(&by_entry(&read([&wire]).unwrap()[0], &refused));
        assert!(advised.len() > 2, "{advised:?}");
        assert_eq!(advised, commands(&explain(&answer).unwrap().advice));
    }

    /// Pasted as a shell splits it, each command is one that this program has, and none takes a selector away.
    #[test]
    fn law_l16_why_prints_no_command_that_loosens() {
        let digest = "ab".repeat(32);
        let registered = format!("unix:sha256:{}", "cd".repeat(32));
        let entry = wire("ent_1", &["unix:uid:0", registered.as_str()]);
        let found =
            ["unix:uid:0".to_owned(), format!("unix:sha256:{digest}"), "unix:path:/tmp/$(id);x\u{1b}[2J".to_owned()];
        let found: Vec<Selector> = found.iter().map(|text| Selector::parse(text).unwrap()).collect();
        let answer = WhyIdentityResponse {
            selectors: selectors_to_wire(&found),
            nearest: Some(entry),
            others: vec![wire("ent_2", &["unix:uid:0", "unix:path:/bin/pay"])],
            agent_id: "spiffe://td.example/spire/agent/join_token/a".into(),
            ..Default::default()
        };
        let explained = explain(&answer).unwrap();
        let shown = explained.text();
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let commands: Vec<&str> = explained.advice.iter().filter_map(|advice| advice.command.as_deref()).collect();
        assert_eq!(commands.len(), 2, "{commands:?}");
        for command in commands {
            assert!(
                shown.contains(command) && command.chars().all(|c| c.is_ascii_alphanumeric() || " -_:/.".contains(c))
            );
            match Cli::try_parse_from(command.split(' ')).unwrap().verb {
                Verb::Entry(Noun { verb: EntryVerb::Approve { .. } | EntryVerb::Create(_), .. }) => {}
                other => panic!("{command}: {other:?}"),
            }
        }
    }
}
