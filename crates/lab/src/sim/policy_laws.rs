//! The laws of policies and decisions, while the fleet runs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use sekisho_proxy::Outcome;
use sekisho_types::{Digest, Effect};

use super::decisions::{Asked, Decisions};
use super::here::elapsed;
use super::laws::{IN_FORCE, RECOVERY};
use super::model::{Answer, Known, Model};
use super::policies::Rules;
use super::request::Request;

/// So long after a call without an answer the server may still do what it asked for.
const LATE: Duration = Duration::from_secs(20);

/// A policy is in force at a sidecar so long after an SVID that requires it, in the worst case: its agent has started
/// again, gave the SVID out, and waits for its server (three seconds) before it sends the policy.
const REQUIRED: Duration = Duration::from_secs(5);
/// So much later than its sidecar an agent may start, for the sidecar to wait for it before it decides.
const WAITED_FOR: Duration = Duration::from_millis(3500);
/// A server that has just started does not answer yet.
const STARTING: Duration = Duration::from_secs(2);

/// The policy that decided: its revision and its digest.
type Policy = (u64, Digest);

impl Decisions {
    /// The newest revision of which the operator had heard at `by`.
    fn acknowledged_by(&self, by: Duration) -> Option<u64> {
        self.acknowledged.iter().rev().find(|(_, at)| *at <= by).map(|(revision, _)| *revision)
    }

    /// The rules of the newest revision and when the operator heard of it, if no other can be in force.
    fn only(&self) -> Option<(&Rules, Duration)> {
        let (revision, at) = *self.acknowledged.last()?;
        let is_newest = self.contents.keys().next_back() == Some(&revision);
        let is_sure = self.unanswered.is_none_or(|asked| elapsed() > asked + LATE);
        let rules = self.contents.get(&revision).and_then(|digest| self.rules.get(digest));
        rules.filter(|_| is_newest && is_sure).map(|rules| (rules, at))
    }

    /// Whether these rules allow what was asked; without rules nothing is.
    fn allow(&self, asked: &Asked, policy: Option<Policy>) -> bool {
        let rules = policy.and_then(|(_, digest)| self.rules.get(&digest));
        rules.is_some_and(|rules| rules.allow(&asked.subject, &asked.request))
    }
}

impl Known {
    /// The newest revision that a sidecar has to have when it is asked at `at`, by the SVID that it holds: without that
    /// policy its agent serves none (law L14).
    fn required(&self, by: &str, at: Duration) -> Option<u64> {
        let life = self.sidecars.holds.get(by).filter(|life| at > life.since + REQUIRED)?;
        self.decisions.acknowledged_by(life.issued)
    }

    /// The newest revision that a sidecar has to have because it and its agent have both begun anew, and the server
    /// was there: the agent asks its server first, and the sidecar its agent.
    fn asked_for(&self, by: &str) -> Option<u64> {
        let of = |times: &BTreeMap<String, Duration>| times.get(by).copied();
        let sidecars = &self.sidecars;
        let (began, agent_began) = (of(&sidecars.started)?, of(&sidecars.agent_started)?);
        let is_new = of(&sidecars.agent_stopped).is_none_or(|stopped| began >= stopped && agent_began >= stopped);
        let was_there = of(&sidecars.cut_off).is_none_or(|cut_off| cut_off + STARTING < agent_began);
        let is_waited_for = agent_began < began + WAITED_FOR;
        (is_new && was_there && is_waited_for).then(|| self.decisions.acknowledged_by(agent_began))?
    }
}

impl Model {
    /// The operator sends a policy.
    pub(super) fn sends_policy(&self, digest: Digest, rules: Rules) {
        let decisions = &mut self.known().decisions;
        decisions.rules.insert(digest, rules);
        decisions.unanswered = Some(elapsed());
    }

    /// The answer to a policy: revisions do not fall, and one whose content is in force already keeps its revision.
    pub(super) fn policy_answered(&self, digest: Digest, answer: &Answer<u64>) {
        let before = {
            let decisions = &mut self.known().decisions;
            let before = decisions.acknowledged.last().copied();
            match answer {
                Answer::Done(revision) => {
                    decisions.unanswered = None;
                    decisions.acknowledged.push((*revision, elapsed()));
                }
                Answer::Refused(_) => decisions.unanswered = None,
                Answer::Unknown => {}
            }
            before
        };
        let Answer::Done(revision) = answer else { return };
        self.count("policies");
        if let Some((before, _)) = before.filter(|(before, _)| revision < before) {
            self.broken("revisions", &format!("policy revision {revision} came after {before}"));
        }
        self.has_content(*revision, digest);
    }

    /// Each revision has one content.
    fn has_content(&self, revision: u64, digest: Digest) {
        let known = *self.known().decisions.contents.entry(revision).or_insert(digest);
        if known != digest {
            self.broken("revisions", &format!("policy revision {revision} is {known} and {digest}"));
        }
    }

    /// Law L3: a policy that does not load, or fails its own tests, gets no revision.
    pub(super) fn broken_policy_answered<T>(&self, answer: &Answer<T>) {
        match answer {
            Answer::Done(_) => self.broken("L3", "a broken policy was applied"),
            Answer::Refused(_) => self.count("broken policies"),
            Answer::Unknown => {}
        }
    }

    /// A sidecar holds this revision. It does not go back to an earlier one, whatever it lost.
    pub(super) fn holds_policy(&self, name: &str, revision: u64) {
        self.note(name, &format!("holds policy revision {revision}"));
        let before = {
            let decisions = &mut self.known().decisions;
            let before = decisions.held.get(name).copied().unwrap_or(0);
            decisions.held.insert(name.to_owned(), before.max(revision));
            let ever = decisions.ever_held.entry(name.to_owned()).or_default();
            *ever = revision.max(*ever);
            before
        };
        if revision < before {
            self.broken("L12", &format!("{name} goes back from policy revision {before} to {revision}"));
        }
    }

    /// A sidecar whose disk wrote nothing lost its power: an older policy may be what is left.
    pub(super) fn may_go_back(&self, name: &str) {
        self.known().decisions.held.remove(name);
    }

    /// A sync has failed on the disk of a sidecar.
    pub(super) fn disk_fails(&self, name: &str, at: Duration) {
        self.known().decisions.disk_failed.insert((name.to_owned(), at));
        self.count("failed syncs");
    }

    /// Law L15: the server reports a revision for a sidecar that has held it and that runs.
    pub(super) fn reported(&self, name: &str, revision: u64) {
        let (held, away) = {
            let known = self.known();
            let troubled = known.sidecars.troubled.get(name);
            let recovered = troubled.map_or(Duration::ZERO, |troubled| *troubled + RECOVERY);
            let away = known.sidecars.away.get(name).copied();
            let away = away.filter(|away| elapsed() > (*away).max(recovered) + IN_FORCE);
            (known.decisions.ever_held.get(name).copied().unwrap_or(0), away)
        };
        if let Some(away) = away {
            self.broken(
                "L15",
                &format!("{name} is reported to run policy revision {revision}, and is away since {away:?}"),
            );
        }
        if revision > held {
            self.broken("L15", &format!("{name} is reported to run policy revision {revision} and never held it"));
        }
    }

    /// A sidecar is asked for a decision. Returns its number.
    pub(super) fn asks(&self, by: &str, subject: &str, request: Request) -> usize {
        let decisions = &mut self.known().decisions;
        let held = decisions.held.get(by).copied();
        let (by, subject, at) = (by.to_owned(), subject.to_owned(), elapsed());
        decisions.asked.push(Asked { request, by, subject, at, held, outcome: None, cut: None });
        decisions.asked.len() - 1
    }

    /// A decision was made, by a sidecar that held the first of these revisions before it and the last behind it.
    pub(super) fn decided(&self, number: usize, outcome: &Outcome, held: RangeInclusive<Option<u64>>) {
        let policy = outcome.policy;
        let (by, what, at, is_allowed, due, before, since_others) = {
            let mut known = self.known();
            let found = known.decisions.asked.get(number).map(|asked| (asked.by.clone(), asked.at));
            let since_others = found.map(|(by, at)| (known.required(&by, at), known.asked_for(&by)));
            let troubled = known.decisions.asked.get(number).and_then(|asked| known.sidecars.troubled.get(&asked.by));
            let recovered = troubled.map_or(Duration::ZERO, |troubled| *troubled + RECOVERY);
            let decisions = &mut known.decisions;
            let Some(asked) = decisions.asked.get_mut(number) else { return };
            asked.outcome = Some((*outcome, elapsed()));
            let (by, at, what, before) = (asked.by.clone(), asked.at, asked.request.id(), asked.held);
            // A policy that could not be written is not there after a restart, and all is denied.
            let before = before.filter(|_| policy.is_some() || !decisions.has_bad_disk(&by));
            let is_whole = at > recovered + IN_FORCE;
            let due = at.checked_sub(IN_FORCE).filter(|_| is_whole).and_then(|by| decisions.acknowledged_by(by));
            let is_allowed = decisions.asked.get(number).is_some_and(|asked| decisions.allow(asked, policy));
            (by, what, at, is_allowed, due, before, since_others.unwrap_or_default())
        };
        let revision = policy.map(|(revision, _)| revision);
        let says = revision.map_or_else(|| "no policy".to_owned(), |revision| format!("revision {revision}"));
        self.note(&by, &format!("decides {what} by {says}: {}", outcome.effect));
        self.count(outcome.effect.as_str());
        if let Some((revision, digest)) = policy {
            self.has_content(revision, digest);
        }
        if !held.contains(&revision) {
            self.broken("L2", &format!("{by} holds policy revision {held:?}, and {what} names {revision:?}"));
        }
        if is_allowed != (outcome.effect == Effect::Allow) {
            self.broken("L3", &format!("{by} decides {what} by {says}: {}, and it is not so", outcome.effect));
        }
        if revision < before {
            self.broken("L14", &format!("{by} decides {what} by {says}, and has held revision {before:?}"));
        }
        // Without a policy all is denied.
        let is_older = |due: Option<u64>| revision.is_some() && revision < due;
        if is_older(since_others.0) {
            let due = since_others.0.unwrap_or_default();
            self.broken("L14", &format!("{by} decides {what} by {says}, and its SVID is of revision {due} or later"));
        }
        if is_older(since_others.1) {
            let due = since_others.1.unwrap_or_default();
            self.broken("L14", &format!("{by} decides {what} by {says}, before it heard of revision {due}"));
        }
        if revision < due {
            let due = due.unwrap_or_default();
            self.broken("L12", &format!("{by} decides {what} by {says} at {at:?}, and revision {due} has to be there"));
        }
    }

    /// Law L12: an allowed request that was open until now, and that its caller ends.
    pub(super) fn was_open(&self, number: usize) {
        self.count("closed");
        let late = {
            let known = self.known();
            let decisions = &known.decisions;
            let Some(asked) = decisions.asked.get(number) else { return };
            let troubled = known.sidecars.troubled.get(&asked.by);
            let recovered = troubled.map_or(Duration::ZERO, |troubled| *troubled + RECOVERY);
            let denied = decisions.only().filter(|(rules, _)| !rules.allow(&asked.subject, &asked.request));
            let denied = denied.filter(|(_, at)| elapsed() > (*at).max(recovered) + IN_FORCE);
            denied.map(|(_, at)| format!("{} keeps {} open, denied since {at:?}", asked.by, asked.request.id()))
        };
        if let Some(late) = late {
            self.broken("L12", &late);
        }
    }

    /// An open request was cut, because the policy no longer allows it.
    pub(super) fn cut(&self, number: usize) {
        self.count("cut");
        let what = {
            let asked = &mut self.known().decisions.asked;
            let Some(asked) = asked.get_mut(number) else { return };
            asked.cut = Some(elapsed());
            (asked.by.clone(), format!("cuts {}", asked.request.id()))
        };
        self.note(&what.0, &what.1);
    }

    /// Law L3: no request is let through that was denied. A program without a policy decides nothing.
    pub(super) fn let_through(&self, request: &Request) {
        let is_denied = {
            let known = self.known();
            let mut decided = known.decisions.asked.iter().filter(|asked| asked.request.number == request.number);
            let allows = |asked: &Asked| asked.outcome.is_some_and(|(outcome, _)| outcome.effect == Effect::Allow);
            decided.next_back().is_some_and(|asked| !allows(asked))
        };
        if is_denied {
            self.broken("L3", &format!("{} was let through, and was not allowed", request.id()));
        }
    }

    /// Whether a sidecar was asked for a decision a moment before `at`.
    pub(super) fn has_decided(&self, name: &str, at: Duration) -> bool {
        let known = self.known();
        let last = known.decisions.asked.iter().rev().find(|asked| asked.by == name);
        last.is_some_and(|last| at.saturating_sub(last.at) < Duration::from_millis(100))
    }

    /// A number for a new request.
    pub(super) fn next_request(&self) -> u32 {
        let mut known = self.known();
        known.decisions.requests += 1;
        known.decisions.requests
    }
}
