//! The short run: seeds that never change. `OPA` names OPA's program; without it, only our own ways are compared.

use fuzz_rego::{Case, Compared, Opa, Random, Server, check};
use sekisho_rego::partial::{Options, Unknown};
use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Limits};

/// Evaluations that are compared at least.
const EVALUATIONS: u64 = 50_000;
/// Policies that are given to OPA.
const POLICIES: u64 = 200;

#[test]
fn every_way_of_evaluating_agrees() {
    let mut compared = 0;
    for seed in 0.. {
        match check(seed) {
            Ok(count) => compared += count,
            Err(difference) => panic!("{difference}"),
        }
        if compared >= EVALUATIONS {
            println!("{compared} evaluations of {} policies", seed + 1);
            break;
        }
    }
}

/// OPA's servers; none, with a note, where the program is not named.
fn opa(test: &str) -> Option<Opa> {
    let Some(program) = std::env::var_os("OPA") else {
        // Past the harness, which shows nothing of a test that passes.
        let note = format!("\nskipped: {test}: set OPA to OPA's program\n");
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes());
        return None;
    };
    Some(Opa::start(&program.to_string_lossy()).unwrap())
}

#[test]
fn opa_evaluates_alike() {
    let Some(mut opa) = opa("opa_evaluates_alike") else { return };
    let mut all = Compared::default();
    (0..POLICIES).for_each(|seed| all.join(opa.compare(seed).unwrap()));
    assert!(all.differences.is_empty(), "{}", all.differences.join("\n\n"));
    assert!(all.evaluations > 15 * POLICIES, "{} evaluations", all.evaluations);
}

#[test]
fn opa_evaluates_residuals_as_their_policies() {
    let Some(mut opa) = opa("opa_evaluates_residuals_as_their_policies") else { return };
    let mut all = Compared::default();
    (0..POLICIES).for_each(|seed| all.join(opa.compare_residuals(seed).unwrap()));
    assert!(all.differences.is_empty(), "{}", all.differences.join("\n\n"));
    assert!(all.evaluations > 10 * POLICIES && all.values > 5 * POLICIES, "{all:?}");
}

/// The same with the two sides of each equation in order: which is left is open.
fn ordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(ordered).collect();
            if items.len() == 3 && items[0].to_json().contains(r#""value":"eq""#) {
                items[1..].sort();
            }
            Value::from(items)
        }
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), ordered(value))).collect())
        }
        _ => value.clone(),
    }
}

/// What the Compile API answers where no rule needs a module of its own.
#[test]
fn opa_compiles_to_the_same_queries() {
    let Some(program) = std::env::var_os("OPA") else { return };
    let mut server = Server::start(&program.to_string_lossy(), Version::V1).unwrap();
    let policy = "package app\n\nallow if {\n\tinput.method == \"GET\"\n\tinput.user.id in {\"a\", \"b\"}\n}\n\n\
        allow if {\n\tsome role in data.roles\n\tinput.user.role == role\n\tstartswith(input.path, \"/x\")\n}\n\n\
        own if input.user.id == data.owners[input.item]\n\nlevel := 3 if input.user.level > 2\n";
    let data = Value::from_json(r#"{"roles": ["r", "s"], "owners": {"i": "a"}}"#).unwrap();
    assert_eq!(server.module("app.rego", policy).unwrap(), []);
    server.data("roles", data.get(&Value::from("roles")).unwrap()).unwrap();
    server.data("owners", data.get(&Value::from("owners")).unwrap()).unwrap();
    let compiled = Compiler::new().module("app.rego", policy).unwrap().compile().unwrap();
    for (query, unknowns, input) in [
        ("data.app.allow == true", &["input.user", "input.path"][..], r#"{"method": "GET"}"#),
        ("data.app.allow == true", &["input.user", "input.path"], r#"{"method": "PUT"}"#),
        ("data.app.allow == true", &["input"], "{}"),
        ("data.app.own == true", &["input.item"], r#"{"user": {"id": "a"}}"#),
        ("data.app.own == true", &["input", "data.owners"], "{}"),
        ("data.app.level = x", &["input"], "{}"),
        ("data.app.own == true", &["input.path"], r#"{"user": {"id": "a"}, "item": "i"}"#),
        ("data.app.own == true", &["input.path"], r#"{"user": {"id": "b"}, "item": "i"}"#),
    ] {
        let list: Vec<String> = unknowns.iter().map(|name| format!("{name:?}")).collect();
        let body = format!(r#"{{"query": {query:?}, "unknowns": [{}], "input": {input}}}"#, list.join(","));
        let (status, reply) = server.call("POST", "/v1/compile", &body).unwrap();
        assert_eq!(status, 200, "{reply}");
        let theirs = Value::from_json(&reply).unwrap();
        let unknowns = unknowns.iter().map(|name| Unknown::parse(name).unwrap()).collect();
        let limits = Limits { strict: false, ..Limits::default() };
        let options = Options { unknowns, limits, ..Options::default() };
        let input = Value::from_json(input).unwrap();
        let residual = compiled.query(query).unwrap().partial(&data, Some(&input), &options).unwrap();
        let ours = residual.to_opa(compiled.modules()).unwrap();
        let theirs = theirs.get(&Value::from("result")).map(ordered);
        assert_eq!(Some(ordered(&ours)), theirs, "{query}");
    }
}

/// Texts of the generator, with one byte changed each.
#[test]
fn changed_bytes_do_no_harm() {
    let mut random = Random::new(11);
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let case = Case::new(seed);
        for (kinds, text) in [(&[8, 9, 10, 11][..], case.text(&case.definitions)), (&[0, 4, 5], case.data.to_json())] {
            let mut bytes = [&[kinds[random.below(kinds.len())]], text.as_bytes()].concat();
            for _ in 0..random.below(4) {
                let (at, from) = (1 + random.below(bytes.len() - 1), 1 + random.below(bytes.len() - 1));
                bytes[at] = bytes[from];
            }
            outcomes.insert(fuzz_rego::bytes(&bytes));
        }
    }
    assert!(outcomes.len() >= 6, "{outcomes:?}");
}
