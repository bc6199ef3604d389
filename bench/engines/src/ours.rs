//! Our decisions, by the lowering and by the engine alone.

use std::sync::Arc;

use sekisho_policy::{PolicySet, RequestInput, Source};
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Document, Limits};

use crate::rules::{GENERAL, General, NOW, Question, rego};
use crate::timing::{Times, times};

/// A policy set as sidecars have it.
pub struct Decisions(PolicySet);

impl Decisions {
    pub fn load(count: usize) -> Result<Decisions, String> {
        let source = Source { name: "authz.rego".into(), text: rego(count) };
        PolicySet::danger_load_any(vec![source]).map(Decisions).map_err(|error| error.to_string())
    }
}

impl crate::Engine for Decisions {
    fn allows(&self, question: &Question) -> bool {
        let (input, now) = request(question);
        self.0.judge(&input, now).effect.is_allow()
    }
}

/// The engine, without our lowering.
pub struct Engine {
    allow: Document,
    limits: Limits,
}

impl Engine {
    pub fn load(count: usize) -> Result<Engine, String> {
        let policy = Compiler::new().module("authz.rego", &rego(count)).and_then(|all| all.compile());
        let policy = policy.map_err(|error| error.to_string())?;
        let allow = policy.document(&["workload", "authz", "allow"]).ok_or("no such rule")?;
        Ok(Engine { allow, limits: Limits::default() })
    }
}

thread_local! {
    /// The last request of this thread: to make it is no part of a decision.
    static REQUEST: std::cell::RefCell<Option<(usize, Arc<RequestInput>)>> = const { std::cell::RefCell::new(None) };
    static INPUT: std::cell::RefCell<Option<(usize, Value)>> = const { std::cell::RefCell::new(None) };
}

impl crate::Engine for Engine {
    fn allows(&self, question: &Question) -> bool {
        INPUT.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|(number, _)| *number != question.number) {
                let value = Value::from_json(&question.json().to_string()).expect("JSON");
                *kept = Some((question.number, value));
            }
            let input = kept.as_ref().map(|(_, value)| value);
            self.allow.eval(&Value::empty_object(), input, NOW, &self.limits) == Ok(Some(Value::Bool(true)))
        })
    }
}

fn request(question: &Question) -> (Arc<RequestInput>, sekisho_types::UnixTime) {
    REQUEST.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(number, _)| *number != question.number) {
            let input = RequestInput::from_json(&question.json()).expect("a request");
            *kept = Some((question.number, Arc::new(input)));
        }
        let input = kept.as_ref().map(|(_, input)| input.clone()).expect("it was made");
        (input, sekisho_types::UnixTime::from_nanos(NOW))
    })
}

/// The general policy.
pub fn general(general: &General) -> Result<(serde_json::Value, Times), String> {
    let policy = Compiler::new().module("general.rego", GENERAL).and_then(|all| all.compile());
    let policy = policy.map_err(|error| error.to_string())?;
    let report = policy.document(&["general", "report"]).ok_or("no such rule")?;
    let value = |json: &serde_json::Value| Value::from_json(&json.to_string()).expect("JSON");
    let (data, input, limits) = (value(&general.data), value(&general.input), Limits::default());
    let ask = || report.eval(&data, Some(&input), NOW, &limits);
    let found = ask().map_err(|error| error.to_string())?.ok_or("undefined")?;
    let found = serde_json::from_str(&found.to_json()).map_err(|error| error.to_string())?;
    Ok((found, times(ask)))
}
