//! How a record is read.

use std::sync::Arc;

use sekisho_identity::Difference;
use sekisho_policy::{Decision, Recorded, RequestInput, RuleOutcome, SubjectInput, Unmet};
use sekisho_types::{Effect, UnixTime, parse_strict_json};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::node::form::{
    CallRefusedForm, DecisionForm, DifferenceForm, InputForm, NearestForm, NoIdentityForm, PeerRefusedForm, RuleForm,
};
use crate::node::kinds::{CallRefused, Decided, NearestEntry, NoIdentity, NodeEvent, PeerRefused};

/// More than a server takes.
const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;

/// Why a record is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeEventError {
    #[error("the record is {0}")]
    NotStrict(#[from] sekisho_types::JsonError),
    #[error("the record is not of the form of its kind: {0}")]
    Form(String),
    #[error("the record is of the kind `{0}`, which this version does not know; a newer one may")]
    Kind(String),
}

/// The members that distinguish the forms.
#[derive(Deserialize)]
struct FormMembers {
    kind: String,
    input: Option<IgnoredAny>,
    selectors: Option<IgnoredAny>,
}

impl NodeEvent {
    /// Reads a record as a node made it. Members that this version does not know are passed over: they are in its
    /// bytes.
    pub fn decode(record: &[u8]) -> Result<Self, NodeEventError> {
        Self::from_json(&parse_strict_json(record, MAX_RECORD_BYTES)?)
    }

    /// Reads a record from a tree, as an answer of the server holds it.
    pub fn from_json(record: &Json) -> Result<Self, NodeEventError> {
        let signs: FormMembers = form(record)?;
        match (signs.kind.as_str(), signs.input.is_some(), signs.selectors.is_some()) {
            ("decision", ..) => decided(form(record)?).map(|decided| Self::Decided(Box::new(decided))),
            ("refusal", true, _) => Ok(Self::PeerRefused(peer_refused(form(record)?))),
            ("refusal", false, true) => Ok(Self::NoIdentity(no_identity(form(record)?))),
            ("refusal", false, false) => Ok(Self::CallRefused(call_refused(form(record)?))),
            _ => Err(NodeEventError::Kind(signs.kind)),
        }
    }
}

fn form<'a, F: Deserialize<'a>>(record: &'a Json) -> Result<F, NodeEventError> {
    F::deserialize(record).map_err(|error| NodeEventError::Form(error.to_string()))
}

fn decided(form: DecisionForm<'_>) -> Result<Decided, NodeEventError> {
    let effect = match &*form.effect {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        _ => return Err(NodeEventError::Form("`effect` is neither `allow` nor `deny`".to_owned())),
    };
    let decision = Decision { effect, rule: form.rule.map(rule), error: form.error.map(Into::into) };
    let recorded = Recorded {
        has_query: form.input.query.is_some(),
        request: Arc::new(input(form.input)),
        now: UnixTime::from_nanos(form.now_ns),
        decision,
        policy_revision: form.policy_revision,
        policy_digest: form.policy_digest.map(|digest| digest.0),
        answers: form.answers.into_owned(),
        answers_to: form.answers_to.map(Into::into),
    };
    let (trace_id, span_id) = (form.trace_id.0, form.span_id.0);
    Ok(Decided { id: form.id.0, trace_id, span_id, recorded, latency_micros: form.latency_us })
}

fn input(form: InputForm<'_>) -> RequestInput {
    RequestInput {
        method: form.method.into(),
        path: form.path.into_owned(),
        query: form.query.unwrap_or_default().into(),
        headers: form.headers.into_owned(),
        subject: Arc::new(SubjectInput {
            spiffe_id: form.subject.spiffe_id.0,
            claims: form.subject.claims.0.into_owned(),
            issued_at: UnixTime::from_nanos(form.subject.issued_at),
        }),
        destination: form.destination.0,
        request_id: form.request_id.into(),
    }
}

fn rule(form: RuleForm<'_>) -> RuleOutcome {
    let unmet = form.unmet.into_iter().map(|unmet| Unmet {
        line: unmet.line,
        condition: unmet.condition.into(),
        found: unmet.found.map(Into::into),
    });
    RuleOutcome { file: form.file.into(), line: form.line, unmet: unmet.collect(), unknown: form.unknown }
}

fn peer_refused(form: PeerRefusedForm<'_>) -> PeerRefused {
    PeerRefused {
        id: form.id.0,
        at: UnixTime::from_millis(form.at_ms),
        what: form.what.into(),
        peer: form.peer.into(),
        reason: form.reason.into(),
        count: form.count,
        destination: form.input.destination.0,
    }
}

fn no_identity(form: NoIdentityForm<'_>) -> NoIdentity {
    NoIdentity {
        id: form.id.0,
        at: UnixTime::from_millis(form.at_ms),
        what: form.what.into(),
        pid: form.pid,
        uid: form.uid,
        selectors: form.selectors.into_iter().map(|selector| selector.0).collect(),
        nearest: form.nearest.map(nearest),
    }
}

fn nearest(form: NearestForm) -> NearestEntry {
    let difference = |difference: DifferenceForm| Difference {
        wants: difference.wants.0,
        found: difference.found.into_iter().map(|found| found.0).collect(),
    };
    NearestEntry {
        entry: form.entry.0,
        spiffe_id: form.spiffe_id.0,
        differences: form.differences.into_iter().map(difference).collect(),
    }
}

fn call_refused(form: CallRefusedForm<'_>) -> CallRefused {
    CallRefused {
        id: form.id.0,
        at: UnixTime::from_millis(form.at_ms),
        what: form.what.into(),
        pid: form.pid,
        uid: form.uid,
        call: form.call.map(Into::into),
    }
}
