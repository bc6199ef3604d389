//! One rule, evaluated for one input: `cargo run -p sekisho-rego --example evaluate`.

#![expect(clippy::print_stdout, reason = "it shows the result")]

use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Limits};

const POLICY: &str = r#"
package app.authz

default allow := false

allow if {
    input.method == "GET"
    input.user in data.readers
}
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Compiler::new().module("authz.rego", POLICY)?.compile()?;
    let allow = policy.document(&["app", "authz", "allow"]).ok_or("no such rule")?;
    let data = Value::from_json(r#"{"readers": ["ada", "bob"]}"#)?;
    for user in ["ada", "eve"] {
        let input = Value::from_json(&format!(r#"{{"method": "GET", "user": "{user}"}}"#))?;
        // The time is an argument: nanoseconds since 1970.
        let allowed = allow.eval(&data, Some(&input), 0, &Limits::default())?;
        println!("{user}: {}", allowed.unwrap_or_default());
    }
    Ok(())
}
