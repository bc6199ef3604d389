//! Deciding a recorded decision again, by the same policy or another one.
//!
//! A record hides some values. Whatever a policy may ask about them is answered by the record, or tried with each
//! answer that fits: an outcome counts only if it is the same for all of them. So nothing is counted that was not
//! established.

mod candidates;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sekisho_rego::Coverage;

use crate::decide::Decision;
use crate::load::PolicySet;
use crate::mask::MASK;
use crate::oracle::Oracle;
use crate::question::Place;
use crate::reads::UnboundedRead;
use crate::record::{Recorded, is_hidden};
use candidates::{Candidate, Hidden};

/// Most ways to fill in what is hidden that are tried for one decision.
const MAX_TRIED: usize = 64;

/// What deciding again came to.
#[derive(Debug)]
pub enum Replayed {
    Decided(Decision),
    /// The policy is the one that decided; what it read is not in the record.
    AsRecorded,
    /// The policy reads what the record does not say.
    Uncertain {
        /// `headers.authorization`.
        place: String,
        /// `authz.rego:7`.
        rule: String,
    },
}

impl Recorded {
    /// Whether a replay by `policy` needs the policy that decided, to know what the answers are answers to.
    pub fn needs_judge(&self, policy: &PolicySet) -> bool {
        let asked =
            |place: &Place| policy.reads.questions(place).next().is_some() || !policy.reads.free(place).is_empty();
        self.answers_to.is_some() && self.policy_digest != Some(policy.digest()) && self.hidden().iter().any(asked)
    }

    /// The places of which the record does not hold the whole value.
    fn hidden(&self) -> Vec<Place> {
        let headers = self.request.headers.iter().map(|(name, value)| (Place::Header(name.clone()), value));
        let places = headers.chain([(Place::Query, &self.request.query)]);
        // What another release masked or cut is hidden as well.
        let marked = |value: &String| value == MASK || value.ends_with('…');
        let hidden = places.filter(|(place, value)| {
            is_hidden(place, value) || marked(value) || (*place == Place::Query && !self.has_query)
        });
        hidden.map(|(place, _)| place).collect()
    }
}

impl PolicySet {
    /// Decides a recorded decision again, as it was then: the clock is the record's. `judge` is the policy set that
    /// decided, if it is at hand; without it answers in the record mean nothing.
    pub fn replay(&self, recorded: &Recorded, judge: Option<&Self>) -> Replayed {
        let same = recorded.policy_digest == Some(self.digest());
        let judge = if same { Some(self) } else { judge };
        let judge = judge.filter(|judge| {
            recorded.policy_digest == Some(judge.digest())
                && recorded.answers_to.as_deref() == Some(judge.reads.digest())
        });
        match self.decide_for_all(recorded, judge) {
            Err(_) if same => Replayed::AsRecorded,
            Err((place, rule)) => Replayed::Uncertain { place, rule },
            Ok(decision) => Replayed::Decided(decision),
        }
    }

    /// The decision, if it is the same whatever fits the record; else the place and the rule that leave it open.
    fn decide_for_all(&self, recorded: &Recorded, judge: Option<&Self>) -> Result<Decision, (String, String)> {
        let (mut hidden, mut free) = (vec![], vec![]);
        for place in recorded.hidden() {
            let reads = self.reads.free(&place).into_iter().map(|read| (place.name(), read));
            let known = judge.zip(recorded.answers.get(&place.name()));
            let known = known.map(|(judge, answers)| judge.reads.known(&place, answers)).unwrap_or_default();
            let found = Hidden::new(place.clone(), recorded, known, &self.reads);
            // A value that equals a constant is known, whatever reads it.
            free.extend(reads.filter(|_| !found.is_known()));
            hidden.push(found);
        }
        hidden.retain(|hidden| hidden.is_asked() || hidden.is_known());
        if hidden.is_empty() && free.is_empty() {
            return Ok(self.decide(&recorded.request, recorded.now));
        }
        // Without an open question the answers contradict each other.
        let first = || hidden.iter().find_map(Hidden::first).unwrap_or_default();
        let open = || hidden.iter().find_map(Hidden::open).unwrap_or_else(first);
        let mut tried = vec![vec![]];
        for hidden in &hidden {
            let fits = hidden.candidates(MAX_TRIED);
            if fits.is_empty() || tried.len().saturating_mul(fits.len()) > MAX_TRIED {
                return Err(open());
            }
            let longer = |before: &Vec<Candidate>| {
                let before = before.clone();
                fits.iter()
                    .map(move |fit| before.iter().chain([fit]).cloned().collect())
                    .collect::<Vec<Vec<Candidate>>>()
            };
            tried = tried.iter().flat_map(longer).collect();
        }
        let mut decided: Option<Decision> = None;
        for candidates in &tried {
            let decision = self.decide_with(recorded, candidates, &free, &open)?;
            match &decided {
                Some(before) if before.effect != decision.effect => return Err(open()),
                Some(_) => {}
                None => decided = Some(decision),
            }
        }
        decided.ok_or_else(open)
    }

    /// The decision on one way to fill in what is hidden.
    fn decide_with(
        &self,
        recorded: &Recorded,
        candidates: &[Candidate],
        free: &[(String, &UnboundedRead)],
        open: &impl Fn() -> (String, String),
    ) -> Result<Decision, (String, String)> {
        let mut request = (*recorded.request).clone();
        let mut oracle = Oracle::default();
        let mut tokens = BTreeMap::new();
        for candidate in candidates {
            match candidate {
                Candidate::Value(place, value) => place.replace(&mut request, value),
                Candidate::Token(place, answers) => {
                    // No text of the policy can hold its own digest.
                    let token = format!("\0{}:{}", self.digest(), place.name());
                    place.replace(&mut request, &token);
                    tokens.insert(token, answers.clone());
                }
            }
        }
        if free.is_empty() && tokens.values().all(|answers| answers.is_plain()) {
            return Ok(self.decide(&request, recorded.now));
        }
        oracle.tokens = Arc::new(tokens);
        let mut coverage = Coverage::default();
        let watched = (!free.is_empty()).then_some(&mut coverage);
        let decision = self.decide_asking(&request, recorded.now, &oracle, watched);
        if oracle.stuck.load(Ordering::Relaxed) {
            return Err(open());
        }
        // What the engine did not evaluate did not count.
        match free.iter().find(|(_, read)| coverage.touches(read.module, read.span)) {
            Some((place, read)) => Err((place.clone(), format!("{}:{}", read.at.file, read.at.line))),
            None => Ok(decision),
        }
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
