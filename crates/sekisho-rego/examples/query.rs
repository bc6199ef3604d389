//! A query with variables: each solution gives its values.

#![expect(clippy::print_stdout, reason = "it shows the solutions")]

use sekisho_rego::syntax::Options;
use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, Context, Limits};

const POLICY: &str = r#"
package org

grants contains [user, role] if {
    some user, roles in data.users
    some role in roles
}
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Compiler::new().module("org.rego", POLICY)?.compile()?;
    let question = policy.ask("data.org.grants[[user, role]]; role != \"guest\"", Options::default(), &[], &[])?;
    let data = Value::from_json(r#"{"users": {"ada": ["admin", "guest"], "bob": ["editor"]}}"#)?;
    for answer in question.eval(&data, None, &mut Context::new(0), &Limits::default(), None)? {
        let values: Vec<String> = answer.bindings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        println!("{}", values.join(", "));
    }
    Ok(())
}
