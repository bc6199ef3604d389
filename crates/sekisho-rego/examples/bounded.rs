//! Policies of strangers: an evaluation ends after so many steps, and whenever another thread says so.

#![expect(clippy::print_stdout, reason = "it shows why each evaluation stopped")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sekisho_rego::value::Value;
use sekisho_rego::{Compiler, EvalCode, Limits};

/// A million pairs.
const POLICY: &str = r#"
package slow

pairs := count([1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); a * b > 0])
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Compiler::new().module("slow.rego", POLICY)?.compile()?;
    let pairs = policy.document(&["slow", "pairs"]).ok_or("no such rule")?;
    let data = Value::empty_object();

    let few = Limits { steps: 10_000, ..Limits::default() };
    match pairs.eval(&data, None, 0, &few) {
        Err(error) if error.code == EvalCode::Limit => println!("bounded: {error}"),
        other => println!("unexpected: {other:?}"),
    }

    let stop = Arc::new(AtomicBool::new(false));
    let limits = Limits { interrupt: Some(stop.clone()), ..Limits::default() };
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        stop.store(true, Ordering::Relaxed);
    });
    match pairs.eval(&data, None, 0, &limits) {
        Err(error) if error.code == EvalCode::Cancel => println!("stopped: {error}"),
        other => println!("it was faster: {other:?}"),
    }
    timer.join().map_err(|_| "the timer panicked")?;
    Ok(())
}
