//! What an evaluation did: an explanation, and which lines it covered.

#![expect(clippy::print_stdout, reason = "it shows the trace")]

use sekisho_rego::tracers::{Cover, Detail, Explanation, Several};
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Context, Limits};

const POLICY: &str = r#"package app

allow if {
    some role in input.roles
    role == "admin"
}

audit if input.debug
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Compiler::new().module("app.rego", POLICY)?.compile()?;
    let allow = policy.document(&["app", "allow"]).ok_or("no such rule")?;
    let input = Value::from_json(r#"{"roles": ["editor", "admin"]}"#)?;

    let (mut explanation, mut cover) = (Explanation::new(Detail::Debug), Cover::new());
    let mut both = Several::new();
    both.add(&mut explanation);
    both.add(&mut cover);
    allow.trace(&Value::empty_object(), Some(&input), &mut Context::new(0), &Limits::default(), &mut both)?;

    for line in explanation.lines(policy.modules(), "") {
        println!("{:<12} {}", line.place(), line.describe(&str::to_owned));
    }
    println!("{:.0} % of the lines were evaluated", cover.report(policy.modules()).percent());
    Ok(())
}
