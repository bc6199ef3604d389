//! A residual with its unknowns filled in, compared with the modules: random policies, random parts unknown.

mod policies;

use std::collections::BTreeSet;

use policies::{Random, policy};
use sekisho_rego::partial::{Options, Unknown};
use sekisho_rego::value::{Object, Value};
use sekisho_rego::{Binding, CompileError, Compiler, EvalCode, EvalError, Limits, Policy, check};

/// What may be unknown.
const UNKNOWNS: &[&str] = &[
    "input.a",
    "input.b",
    "input.xs",
    "input.o",
    "input.o.k",
    "input.s",
    "input.n",
    "input",
    "input",
    "data.l",
    "data.roles",
    "data.test.r2",
];

/// A second package, which is read through names that only the evaluation knows.
const OTHER: &str = "package other

x := input.a

y contains v if some v in input.xs

z if input.n == 1
";

const DATA: &str = r#"{"d": {"x": 1, "y": [1, "x"], "z": {"x": "y"}},
    "roles": {"x": ["a"], "y": ["b", "c"]}, "l": [0, 1, "x"]}"#;

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn compile(text: &str) -> Result<Policy, CompileError> {
    let untyped = check::Options { untyped: true, ..check::Options::default() };
    Compiler::new().checks(untyped).module("test.rego", text)?.module("other.rego", OTHER)?.compile()
}

fn scalar(random: &mut Random) -> Value {
    json(random.pick(&["0", "1", "2", "\"x\"", "\"y\"", "true", "false", "null", "[1, \"x\"]"]))
}

fn input(random: &mut Random) -> Value {
    let mut members = Vec::new();
    for name in ["a", "b", "n"] {
        if !random.one_in(6) {
            let value = if name == "n" { json(random.pick(&["0", "1", "3", "5"])) } else { scalar(random) };
            members.push((Value::from(name), value));
        }
    }
    if !random.one_in(6) {
        let items: Vec<Value> = (0..random.below(4)).map(|_| scalar(random)).collect();
        members.push((Value::from("xs"), Value::from(items)));
    }
    if !random.one_in(6) {
        members.push((Value::from("s"), json(random.pick(&["\"x\"", "\"yx\"", "\"\"", "\"y\"", "7"]))));
    }
    if !random.one_in(6) {
        let members_of = ["k", "x", "y"].map(|name| (Value::from(name), scalar(random)));
        let some = members_of.into_iter().filter(|_| !random.one_in(4)).collect();
        members.push((Value::from("o"), Value::Object(Object::from_vec(some))));
    }
    Value::Object(Object::from_vec(members))
}

/// The input without what is unknown.
fn known(input: &Value, unknowns: &[&str]) -> Option<Value> {
    let mut input = input.as_object()?.clone();
    for unknown in unknowns {
        match *unknown {
            "input" => return None,
            "input.o.k" => {
                if let Some(Value::Object(inner)) = input.get(&Value::from("o")).cloned() {
                    let mut inner = inner;
                    inner.remove(&Value::from("k"));
                    input.insert(Value::from("o"), Value::Object(inner));
                }
            }
            other => {
                input.remove(&Value::from(other.trim_start_matches("input.")));
            }
        }
    }
    Some(Value::Object(input))
}

type Rows = Result<BTreeSet<Vec<(String, Value)>>, EvalCode>;

fn rows(found: Result<Vec<Vec<Binding>>, EvalError>, names: &[&str]) -> Rows {
    let row = |row: Vec<Binding>| {
        let mut row: Vec<(String, Value)> = row
            .into_iter()
            .filter(|binding| names.contains(&&*binding.name))
            .map(|binding| (binding.name.to_string(), binding.value))
            .collect();
        row.sort();
        row
    };
    found.map(|rows| rows.into_iter().map(row).collect()).map_err(|error| error.code)
}

/// Counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Evaluations that were compared.
    pub(crate) decisions: usize,
    /// Policies that the compiler refuses.
    pub(crate) refused: usize,
    /// Residuals that hold always or never.
    pub(crate) certain: usize,
    /// Residuals with support rules.
    pub(crate) supported: usize,
    /// Evaluations that end with an error.
    pub(crate) errors: usize,
    /// Evaluations with a solution.
    pub(crate) holds: usize,
}

/// Compares one residual with its modules for some inputs.
///
/// # Panics
/// Where they differ.
pub(crate) fn compare(seed: u64, seen: &mut Seen) {
    let mut random = Random::new(seed);
    let text = policy(&mut random);
    let compiled = match compile(&text) {
        Ok(compiled) => compiled,
        Err(_) => {
            seen.refused += 1;
            return;
        }
    };
    let unknowns: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(UNKNOWNS)).collect();
    let strict = random.one_in(2);
    let limits = Limits { strict, exhaustive: random.one_in(2), ..Limits::default() };
    let options = Options {
        unknowns: unknowns.iter().map(|text| Unknown::parse(text).unwrap()).collect(),
        shallow: random.one_in(6),
        not_inlined: if random.one_in(4) { vec![vec!["test".into(), "r1".into()]] } else { Vec::new() },
        now: random.one_in(2).then_some(7),
        limits: limits.clone(),
        ..Options::default()
    };
    let data = json(DATA);
    let mut known_data = data.clone();
    for name in ["l", "roles"] {
        if unknowns.contains(&&*format!("data.{name}")) {
            put(&mut known_data, &Value::from(name), None);
        }
    }
    let base = input(&mut random);
    let known_input = known(&base, &unknowns);
    let queries = ["data.test.r5 = x", "data.test.r5 == true", "x = data.test.r4; not data.test.r3", "data.test.r4[x]"];
    let text_of_query = random.pick(&queries);
    let query = compiled.query(text_of_query).unwrap();
    let residual = query.partial(&known_data, known_input.as_ref(), &options).unwrap();
    let shown = || {
        format!(
            "seed {seed}, strict {strict}, exhaustive {}, unknown {unknowns:?}, query {text_of_query}\n\
             {text}\n---\n{}\n---\n{}",
            limits.exhaustive,
            residual.queries().join("\n or\n"),
            residual.modules().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n")
        )
    };
    let resumed = residual.resume(&compiled).unwrap_or_else(|error| panic!("{error}\n{}", shown()));
    seen.certain += usize::from(residual.is_always() || residual.is_never());
    seen.supported += usize::from(!residual.support().is_empty());
    for _ in 0..12 {
        let mut full = input(&mut random);
        for (name, value) in known_input.iter().flat_map(|known| known.as_object().unwrap().iter()) {
            if unknowns.contains(&"input.o.k") && name.as_str() == Some("o") && !unknowns.contains(&"input.o") {
                let Value::Object(mut inner) = value.clone() else { panic!() };
                if !random.one_in(4) {
                    inner.insert(Value::from("k"), scalar(&mut random));
                }
                put(&mut full, name, Some(Value::Object(inner)));
            } else {
                put(&mut full, name, Some(value.clone()));
            }
        }
        if let Some(known) = &known_input {
            for name in ["a", "b", "n", "xs", "s", "o"] {
                let is_unknown = unknowns.iter().any(|unknown| *unknown == format!("input.{name}"));
                if !is_unknown && known.get(&Value::from(name)).is_none() {
                    put(&mut full, &Value::from(name), None);
                }
            }
        }
        let names = ["x"];
        let ours = rows(query.eval(&data, Some(&full), 7, &limits), &names);
        let theirs = rows(resumed.eval(&data, Some(&full), 7, &limits), &names);
        seen.decisions += 1;
        seen.errors += usize::from(ours.is_err());
        seen.holds += usize::from(ours.as_ref().is_ok_and(|rows| !rows.is_empty()));
        let alike = match (&ours, &theirs) {
            (Err(_), Err(_)) => true,
            (a, b) => a == b,
        };
        assert!(alike, "{ours:?} became {theirs:?} for {}\n{}", full.to_json(), shown());
    }
}

fn put(input: &mut Value, name: &Value, value: Option<Value>) {
    let Value::Object(object) = input else { return };
    let mut object = object.clone();
    match value {
        Some(value) => object.insert(name.clone(), value),
        None => {
            object.remove(name);
        }
    }
    *input = Value::Object(object);
}
