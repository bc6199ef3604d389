//! What the operator does about policies: applies them, also broken ones, and reads which are in force.

use std::time::Duration;

use hyper::Method;
use sekisho_policy::{PolicySet, Source};
use serde_json::Value;

use super::here::random;
use super::model::Answer;
use super::operator::Operator;
use super::policies::{Rules, broken_form, form};
use super::sidecar::spiffe_id;

const POLICY: &str = "/v1/policy";

impl Operator {
    /// Applies a policy by the seed.
    pub(super) async fn policy(&self) {
        let rules = Rules::drawn();
        let source = Source { name: "authz.rego".to_owned(), text: rules.text() };
        let digest = match PolicySet::load(vec![source]) {
            Ok(set) => set.digest(),
            Err(error) => return self.model.broken("simulator", &format!("a policy does not load: {error}")),
        };
        let form = form(&rules);
        self.model.sends_policy(digest, rules);
        let answer = match self.ask(Method::PUT, POLICY, Some(form)).await {
            Answer::Done(applied) => Answer::Done(applied["revision"].as_u64().unwrap_or(0)),
            Answer::Refused(why) => Answer::Refused(why),
            Answer::Unknown => Answer::Unknown,
        };
        self.model.policy_answered(digest, &answer);
        for _ in 0..random(4) {
            // While it comes to the sidecars.
            tokio::time::sleep(Duration::from_millis(5 + random(40))).await;
            if let Answer::Done(health) = self.ask(Method::GET, "/v1/health", None).await {
                self.take_reports(&health);
            }
        }
    }

    /// Applies a policy that must be refused.
    pub(super) async fn broken_policy(&self) {
        let answer = self.ask(Method::PUT, POLICY, Some(broken_form())).await;
        self.model.broken_policy_answered(&answer);
    }

    /// What the server says each sidecar runs.
    pub(super) fn take_reports(&self, health: &Value) {
        for (id, agents) in health["policy_in_force"].as_object().into_iter().flatten() {
            let name = id.rsplit('/').next().unwrap_or_default();
            for revision in agents.as_object().into_iter().flatten().filter_map(|(_, revision)| revision.as_u64()) {
                self.model.count("reports");
                self.model.reported(name, revision);
            }
        }
    }

    /// What of policies and records has not come to the place where it has to be.
    pub(super) async fn compare_policy(&self) -> Option<String> {
        let unanswered = || Some("the server did not answer which policy runs".to_owned());
        let running = match self.ask(Method::GET, POLICY, None).await {
            Answer::Done(policy) => policy["revision"].as_u64().unwrap_or(0),
            // There is none.
            Answer::Refused(_) => 0,
            Answer::Unknown => return unanswered(),
        };
        let Answer::Done(health) = self.ask(Method::GET, "/v1/health", None).await else { return unanswered() };
        self.take_reports(&health);
        let known = self.model.known();
        for (name, waiting) in &known.decisions.waiting {
            let held = known.decisions.held.get(name).copied().unwrap_or(0);
            if held != running {
                return Some(format!("{name} holds policy revision {held}, not {running}"));
            }
            let reported = health["policy_in_force"][spiffe_id(name)].as_object();
            if !known.sidecars.holds.contains_key(name) {
                if reported.is_some() {
                    return Some(format!("{name} is reported to run a policy, and has no identity"));
                }
                continue;
            }
            if running > 0
                && !reported.is_some_and(|agents| agents.values().all(|revision| revision.as_u64() == Some(running)))
            {
                return Some(format!("{name} is not reported to run policy revision {running}"));
            }
            if *waiting != (0, 0) {
                return Some(format!("{name} has {} records to send, and {} losses", waiting.0, waiting.1));
            }
        }
        None
    }
}
