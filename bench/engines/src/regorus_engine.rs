//! regorus: a compiled policy, whose input is made before.

use std::cell::RefCell;
use std::num::{NonZeroU32, NonZeroUsize};

use regorus::{CompiledPolicy, Engine as Regorus, PolicyLengthConfig, Value};

use crate::rules::{GENERAL, General, Question, rego};
use crate::timing::{Times, times};

pub struct Compiled(CompiledPolicy);

thread_local! {
    static INPUT: RefCell<Option<(usize, Value)>> = const { RefCell::new(None) };
}

impl Compiled {
    pub fn load(count: usize) -> Result<Compiled, String> {
        let mut engine = Regorus::new();
        engine.set_policy_length_config(PolicyLengthConfig {
            max_col: NonZeroU32::MAX,
            max_file_bytes: NonZeroUsize::MAX,
            max_lines: NonZeroUsize::MAX,
        });
        engine.add_policy("authz.rego".into(), rego(count)).map_err(|error| first_line(&error.to_string()))?;
        engine
            .compile_with_entrypoint(&"data.workload.authz.allow".into())
            .map(Compiled)
            .map_err(|error| first_line(&error.to_string()))
    }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| line.contains("error")).or(text.lines().next()).unwrap_or_default().to_owned()
}

impl crate::Engine for Compiled {
    fn allows(&self, question: &Question) -> bool {
        INPUT.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|(number, _)| *number != question.number) {
                let value = Value::from_json_str(&question.json().to_string()).expect("JSON");
                *kept = Some((question.number, value));
            }
            let input = kept.as_ref().map(|(_, value)| value.clone()).expect("it was made");
            self.0.eval_with_input(input).is_ok_and(|value| value == Value::Bool(true))
        })
    }
}

/// The general policy.
pub fn general(general: &General) -> Result<(serde_json::Value, Times), String> {
    let mut engine = Regorus::new();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    engine.add_policy("general.rego".into(), GENERAL.into()).map_err(|error| text(&error))?;
    engine.add_data_json(&general.data.to_string()).map_err(|error| text(&error))?;
    let policy = engine.compile_with_entrypoint(&"data.general.report".into()).map_err(|error| text(&error))?;
    let input = Value::from_json_str(&general.input.to_string()).map_err(|error| text(&error))?;
    let found = policy.eval_with_input(input.clone()).map_err(|error| text(&error))?;
    let found =
        serde_json::from_str(&found.to_json_str().map_err(|error| text(&error))?).map_err(|error| text(&error))?;
    Ok((found, times(|| policy.eval_with_input(input.clone()))))
}
