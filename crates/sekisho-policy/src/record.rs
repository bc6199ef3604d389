//! The record of a decision: for the log and for a replay. Values that may hold a secret are masked. The record holds
//! the answers to the policy's questions about masked and cut values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_types::{Digest, UnixTime};

use crate::decide::{Decision, RuleOutcome};
use crate::input::RequestInput;
use crate::load::PolicySet;
use crate::mask::{MASK, MAX_KEPT, is_long, is_sensitive, recorded_query, shortened};
use crate::question::Place;

/// A decision as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Without hidden values.
    pub request: Arc<RequestInput>,
    /// Records of the first releases have no query.
    pub has_query: bool,
    pub now: UnixTime,
    pub decision: Decision,
    pub policy_revision: u64,
    /// Of the policy set that decided.
    pub policy_digest: Option<Digest>,
    /// For each hidden place that the policy asks about, one character a question.
    pub answers: BTreeMap<String, String>,
    /// Names the questions and their order.
    pub answers_to: Option<String>,
}

impl Recorded {
    /// The record of `policy`'s decision on `request`.
    pub fn of(
        request: &Arc<RequestInput>,
        now: UnixTime,
        decision: Decision,
        policy_revision: u64,
        policy: Option<&PolicySet>,
    ) -> Self {
        let answers = policy.map(|policy| policy.reads.answers(request, is_hidden)).unwrap_or_default();
        Self {
            request: masked(request),
            has_query: true,
            now,
            decision: Decision { rule: decision.rule.map(shortened_outcome), ..decision },
            policy_revision,
            policy_digest: policy.map(PolicySet::digest),
            answers_to: policy.filter(|_| !answers.is_empty()).map(|policy| policy.reads.digest().to_owned()),
            answers,
        }
    }
}

/// The request without hidden values; most requests have none and are shared.
fn masked(request: &Arc<RequestInput>) -> Arc<RequestInput> {
    let is_hidden = |(name, value): (&String, &String)| is_sensitive(name) || is_long(value);
    if !request.headers.iter().any(is_hidden) && request.query.is_empty() {
        return request.clone();
    }
    let kept = |(name, value): (&String, &String)| {
        let kept = if is_sensitive(name) { Cow::Borrowed(MASK) } else { shortened(value) };
        (name.clone(), kept.into_owned())
    };
    let (headers, query) = (request.headers.iter().map(kept).collect(), recorded_query(&request.query));
    let RequestInput { method, path, subject, destination, request_id, .. } = &**request;
    Arc::new(RequestInput {
        method: method.clone(),
        path: path.clone(),
        query,
        headers,
        subject: subject.clone(),
        destination: destination.clone(),
        request_id: request_id.clone(),
    })
}

fn shortened_outcome(mut rule: RuleOutcome) -> RuleOutcome {
    for found in rule.unmet.iter_mut().filter_map(|unmet| unmet.found.as_mut()) {
        if is_long(found) {
            *found = shortened(found).into_owned();
        }
    }
    rule
}

/// Whether a record leaves out some of the value that was at `place`.
pub(crate) fn is_hidden(place: &Place, value: &str) -> bool {
    match place {
        Place::Header(name) => is_sensitive(name) || is_long(value),
        Place::Query => value.split('&').any(|parameter| !parameter.is_empty()) || value.len() > MAX_KEPT,
    }
}

#[cfg(test)]
mod tests {
    use sekisho_types::{ClaimValue, Claims, Effect, SpiffeId};

    use super::*;
    use crate::{Source, SubjectInput, Unmet};

    fn request(headers: &[(&str, String)], query: &str) -> Arc<RequestInput> {
        let mut claims = Claims::default();
        claims.set("hw_attested", ClaimValue::Bool(true));
        Arc::new(RequestInput {
            method: "GET".into(),
            path: vec!["v1".into(), "a%20b".into()],
            query: query.into(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            subject: Arc::new(SubjectInput {
                spiffe_id: SpiffeId::parse_workload("spiffe://td/a").unwrap(),
                claims,
                issued_at: UnixTime::from_nanos(5),
            }),
            destination: SpiffeId::parse_workload("spiffe://td/b").unwrap(),
            request_id: "r-1".into(),
        })
    }

    fn recorded(request: &Arc<RequestInput>, policy: Option<&PolicySet>) -> Recorded {
        let found = Some("\"é\"".repeat(40_000));
        let unmet = Unmet { line: 7, condition: "input.method == \"PUT\"".into(), found };
        let rule = RuleOutcome { file: "a.rego".into(), line: 5, unmet: vec![unmet], unknown: 0 };
        let decision = Decision { effect: Effect::Deny, rule: Some(rule), error: None };
        Recorded::of(request, UnixTime::from_nanos(1_234_567_890), decision, 3, policy)
    }

    #[test]
    fn law_l8_a_record_is_masked_and_bounded() {
        let headers =
            [("authorization", "Bearer x".to_owned()), ("x-note", "é".repeat(40_000)), ("x-refresh-token", "y".into())];
        let request = request(&headers, "q=s3cret&t");
        let text = "package workload.authz\nallow if {\n\tstartswith(input.headers.authorization, \"Bearer \")\n\tinput.headers[\"x-note\"] == \"a\"\n}\n";
        let policy = PolicySet::load(vec![Source { name: "a.rego".into(), text: text.into() }]).unwrap();
        let record = recorded(&request, Some(&policy));
        let header = |name: &str| record.request.headers.get(name).unwrap().as_str();
        assert_eq!((header("authorization"), header("x-refresh-token")), (MASK, MASK));
        assert_eq!(header("x-note").chars().count(), MAX_KEPT + 1);
        assert_eq!(record.request.query, "q=***&***");
        let found = record.decision.rule.as_ref().unwrap().unmet[0].found.as_ref().unwrap();
        assert_eq!(found.chars().count(), MAX_KEPT + 1);
        assert_eq!(record.policy_digest, Some(policy.digest()));
        let answers: Vec<_> = record.answers.iter().map(|(place, answer)| (place.as_str(), answer.as_str())).collect();
        assert_eq!(answers, [("headers.authorization", "1"), ("headers.x-note", "0")]);
        assert_eq!(record.answers_to.as_deref(), Some(policy.reads.digest()));
    }

    #[test]
    fn a_request_without_secrets_is_not_copied() {
        let plain = request(&[("x-note", "n".to_owned())], "");
        assert!(Arc::ptr_eq(&recorded(&plain, None).request, &plain));
    }
}
