//! What has to come out the same, however a policy is written and evaluated.

use sekisho_rego::builtins::Context;
use sekisho_rego::syntax::{Options, format::format};
use sekisho_rego::value::Value;
use sekisho_rego::{Limits, Policy};

use crate::Random;
use crate::case::Case;
use crate::ours::NOW;

/// The ways in which a document is evaluated for one input, besides the plain one.
const WAYS: u64 = 5;

/// What a document comes to: a value, none, or an error.
type Found = Result<Option<Value>, String>;

/// Evaluates the case of a seed in every way; gives how many evaluations were compared.
///
/// # Errors
/// Two ways that differ, with the policy and the input.
pub fn check(seed: u64) -> Result<u64, String> {
    let case = Case::new(seed);
    let text = case.text(&case.definitions);
    let compiled = |text: &str| case.compile(text).map_err(|error| format!("seed {seed}: {error}\n{text}"));
    let policy = compiled(&text)?;
    let mut order = case.definitions.clone();
    shuffle(&mut order, &mut Random::new(seed));
    let shuffled = compiled(&case.text(&order))?;
    let options = Options { version: case.version, ..Options::default() };
    let formatted = format("t.rego", &text, options).map_err(|errors| format!("seed {seed}: {errors:?}\n{text}"))?;
    let again = format("t.rego", &formatted, options).map_err(|errors| format!("seed {seed}: {errors:?}"))?;
    if again != formatted {
        return Err(format!("seed {seed}: formatted twice, the text differs\n{formatted}\n{again}"));
    }
    let formatted = compiled(&formatted)?;
    let data = case.all_data();
    let mut compared = 0;
    for input in &case.inputs {
        for name in &case.documents {
            let run = |policy: &Policy, limits: Limits| evaluate(policy, name, &data, input, &limits);
            let plain = run(&policy, limits(false, false));
            let every = run(&policy, limits(false, true));
            let ways = [
                ("a second time", alike(&plain, &run(&policy, limits(false, false)))),
                ("strictly", of_values(&plain, &run(&policy, limits(true, false)))),
                ("formatted", alike(&plain, &run(&formatted, limits(false, false)))),
                ("in another order", equal(&every, &run(&shuffled, limits(false, true)))),
                ("without the index", of_values(&plain, &explained(&policy, name, &data, input))),
            ];
            compared += WAYS;
            if let Some((way, _)) = ways.iter().find(|(_, alike)| !alike) {
                return Err(format!(
                    "seed {seed}: {name} differs {way}: {plain:?}, all rules {every:?}\n{text}\ninput {}\ndata {}",
                    input.to_json(),
                    data.to_json()
                ));
            }
        }
    }
    Ok(compared)
}

fn limits(strict: bool, exhaustive: bool) -> Limits {
    Limits { strict, exhaustive, steps: 100_000, ..Limits::default() }
}

fn evaluate(policy: &Policy, name: &str, data: &Value, input: &Value, limits: &Limits) -> Found {
    let Some(document) = policy.document(&["t", name]) else { return Ok(None) };
    document.eval(data, Some(input), NOW, limits).map_err(|error| error.code.as_str().to_owned())
}

fn explained(policy: &Policy, name: &str, data: &Value, input: &Value) -> Found {
    let Some(document) = policy.document(&["t", name]) else { return Ok(None) };
    let (found, _) = document.explain(data, Some(input), &mut Context::new(NOW), &limits(false, false));
    found.map_err(|error| error.code.as_str().to_owned())
}

/// Equal values, which may be written in two ways: of `0` and `-0` a set keeps the first one.
fn equal(one: &Found, two: &Found) -> bool {
    one.is_err() == two.is_err() && (one.is_err() || one == two) || alike(one, two)
}

/// The same value, or an error of both: which of several comes first is open.
fn alike(one: &Found, two: &Found) -> bool {
    match (one, two) {
        (Ok(one), Ok(two)) => one == two && one.as_ref().map(Value::to_json) == two.as_ref().map(Value::to_json),
        (Err(one), _) | (_, Err(one)) if one == "eval_limit_error" => true,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// The same value where both have one. One of both may meet an error that the other one does not look for.
fn of_values(one: &Found, two: &Found) -> bool {
    one.is_err() || two.is_err() || alike(one, two)
}

fn shuffle(items: &mut [String], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}
