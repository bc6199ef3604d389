//! How a record is written, once: where it is made.

use std::borrow::Cow;

use sekisho_policy::{RequestInput, RuleOutcome, Unmet};
use serde::Serialize;

use crate::node::form::{
    CallRefusedForm, ClaimsForm, DecisionForm, DestinationForm, DifferenceForm, HexId, InputForm, NearestForm, NoFacts,
    NoIdentityForm, PeerRefusedForm, RuleForm, SubjectForm, Text, UnmetForm,
};
use crate::node::kinds::{CallRefused, Decided, NearestEntry, NoIdentity, NodeEvent, PeerRefused};

impl NodeEvent {
    /// The record of the event, in canonical JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![];
        self.encode_into(&mut out);
        out
    }

    /// Writes the record behind what `out` holds.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Decided(decided) => decided.encode_into(out),
            Self::PeerRefused(refused) => put(out, &refused.form()),
            Self::NoIdentity(refused) => put(out, &refused.form()),
            Self::CallRefused(refused) => put(out, &refused.form()),
        }
    }
}

fn put(out: &mut Vec<u8>, form: &impl Serialize) {
    // Memory does not fail, and every member is text, a number or a list or object of those.
    let _written = serde_json::to_writer(out, form);
}

impl Decided {
    /// Writes the record behind what `out` holds.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put(out, &self.form());
    }

    fn form(&self) -> DecisionForm<'_> {
        let recorded = &self.recorded;
        DecisionForm {
            answers: Cow::Borrowed(&recorded.answers),
            answers_to: recorded.answers_to.as_deref().map(Cow::Borrowed),
            at_ms: recorded.now.millis(),
            effect: recorded.decision.effect.as_str().into(),
            error: recorded.decision.error.as_deref().map(Cow::Borrowed),
            facts: NoFacts {},
            id: Text(self.id),
            input: input(&recorded.request, recorded.has_query),
            kind: "decision".into(),
            latency_us: self.latency_micros,
            now_ns: recorded.now.nanos(),
            policy_digest: recorded.policy_digest.map(Text),
            policy_revision: recorded.policy_revision,
            rule: recorded.decision.rule.as_ref().map(rule),
            span_id: HexId(self.span_id),
            trace_id: HexId(self.trace_id),
        }
    }
}

fn input(request: &RequestInput, has_query: bool) -> InputForm<'_> {
    InputForm {
        destination: Text(request.destination.clone()),
        headers: Cow::Borrowed(&request.headers),
        method: Cow::Borrowed(&request.method),
        path: Cow::Borrowed(&request.path),
        query: has_query.then_some(Cow::Borrowed(&request.query)),
        request_id: Cow::Borrowed(&request.request_id),
        subject: SubjectForm {
            claims: ClaimsForm(Cow::Borrowed(&request.subject.claims)),
            issued_at: request.subject.issued_at.nanos(),
            spiffe_id: Text(request.subject.spiffe_id.clone()),
        },
    }
}

fn rule(rule: &RuleOutcome) -> RuleForm<'_> {
    let unmet = rule.unmet.iter().map(unmet).collect();
    RuleForm { file: Cow::Borrowed(&rule.file), line: rule.line, unknown: rule.unknown, unmet }
}

fn unmet(unmet: &Unmet) -> UnmetForm<'_> {
    let found = unmet.found.as_deref().map(Cow::Borrowed);
    UnmetForm { condition: Cow::Borrowed(&unmet.condition), found, line: unmet.line }
}

impl PeerRefused {
    fn form(&self) -> PeerRefusedForm<'_> {
        PeerRefusedForm {
            at_ms: self.at.millis(),
            count: self.count,
            id: Text(self.id),
            input: DestinationForm { destination: Text(self.destination.clone()) },
            kind: "refusal".into(),
            peer: Cow::Borrowed(&self.peer),
            reason: Cow::Borrowed(&self.reason),
            what: Cow::Borrowed(&self.what),
        }
    }
}

impl NoIdentity {
    fn form(&self) -> NoIdentityForm<'_> {
        NoIdentityForm {
            at_ms: self.at.millis(),
            id: Text(self.id),
            kind: "refusal".into(),
            nearest: self.nearest.as_ref().map(nearest),
            pid: self.pid,
            selectors: self.selectors.iter().cloned().map(Text).collect(),
            uid: self.uid,
            what: Cow::Borrowed(&self.what),
        }
    }
}

fn nearest(nearest: &NearestEntry) -> NearestForm {
    let differences = nearest.differences.iter().map(|difference| DifferenceForm {
        found: difference.found.iter().cloned().map(Text).collect(),
        wants: Text(difference.wants.clone()),
    });
    NearestForm {
        differences: differences.collect(),
        entry: Text(nearest.entry.clone()),
        spiffe_id: Text(nearest.spiffe_id.clone()),
    }
}

impl CallRefused {
    fn form(&self) -> CallRefusedForm<'_> {
        CallRefusedForm {
            at_ms: self.at.millis(),
            call: self.call.as_deref().map(Cow::Borrowed),
            id: Text(self.id),
            kind: "refusal".into(),
            pid: self.pid,
            uid: self.uid,
            what: Cow::Borrowed(&self.what),
        }
    }
}
