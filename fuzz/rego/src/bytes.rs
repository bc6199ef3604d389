//! Any bytes as a module, as a query, as JSON: nothing panics, whatever is bounded ends, and what is laid out means the
//! same.

use sekisho_rego::syntax::ast::Version;
use sekisho_rego::syntax::format::format;
use sekisho_rego::syntax::{Options, parse_module};
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Limits};

use crate::ours::NOW;

/// What the modules are evaluated on.
const INPUT: &str = r#"{"n": 3, "s": "a", "xs": [1, "a", null], "o": {"a": {"b": [true]}}, "b": true}"#;
/// The longest text: what takes long is not found by longer ones.
const LONGEST: usize = 4096;

/// Takes the first byte for what the others are, and does with them all that the engine does with such a text. Says in
/// a word what became of it.
///
/// # Panics
/// Where a promise of the engine is broken.
pub fn bytes(data: &[u8]) -> &'static str {
    let Some((kind, rest)) = data.split_first() else { return "empty" };
    let Ok(text) = std::str::from_utf8(rest.get(..LONGEST).unwrap_or(rest)) else { return "not UTF-8" };
    let version = if kind & 1 == 0 { Version::V1 } else { Version::V0 };
    let options = Options { version, whole_negation: kind & 2 != 0, ..Options::default() };
    match kind >> 2 & 3 {
        0 => json(text),
        1 => query(text, options),
        _ => module(text, options),
    }
}

fn json(text: &str) -> &'static str {
    let Ok(value) = Value::from_json(text) else { return "refused" };
    let again = value.to_json();
    let read = Value::from_json(&again).unwrap_or_else(|error| panic!("{error}: {again}"));
    assert_eq!(read, value, "{again}");
    "read"
}

fn limits() -> Limits {
    Limits { strict: false, steps: 20_000, ..Limits::default() }
}

fn query(text: &str, options: Options) -> &'static str {
    let Ok(policy) = Compiler::new().compile() else { return "refused" };
    let Ok(query) = policy.query_in(text, options, &[], &[]) else { return "refused" };
    let input = Value::from_json(INPUT).unwrap_or_default();
    match query.eval(&Value::empty_object(), Some(&input), NOW, &limits()) {
        Ok(rows) if rows.is_empty() => "undefined",
        Ok(_) => "solved",
        Err(_) => "failed",
    }
}

fn module(text: &str, options: Options) -> &'static str {
    let Ok(module) = parse_module("t.rego", text, options) else { return "refused" };
    let formatted = format("t.rego", text, options).unwrap_or_else(|errors| panic!("not formatted: {errors:?}"));
    let twice = format("t.rego", &formatted, options).unwrap_or_else(|errors| panic!("{errors:?}\n{formatted}"));
    assert_eq!(twice, formatted, "formatted twice, the text differs");
    let compiled = |text: &str| Compiler::new().options(options).module("t.rego", text)?.compile();
    let input = Value::from_json(INPUT).unwrap_or_default();
    match (compiled(text), compiled(&formatted)) {
        (Ok(own), Ok(again)) => {
            let package: Vec<&str> = module.package.path.iter().map(|name| &*name.text).collect();
            for rule in &module.rules {
                let path = [package.as_slice(), &[&*rule.head.name.text]].concat();
                let found = [&own, &again].map(|policy| {
                    let document = policy.document(&path)?;
                    Some(document.eval(&Value::empty_object(), Some(&input), NOW, &limits()).ok())
                });
                let [own, again] = found;
                // One of two may meet a bound first.
                if let (Some(Some(own)), Some(Some(again))) = (own, again) {
                    assert_eq!(own, again, "{path:?} differs when it is laid out\n{formatted}");
                }
            }
            "evaluated"
        }
        (Err(_), Err(_)) => "not compiled",
        (own, again) => panic!("{:?} and laid out {:?}\n{formatted}", own.err(), again.err()),
    }
}
