//! `cargo xtask fuzz-rego guided [SECONDS]`: libFuzzer steers bytes by the code that they reach. What it found stays in
//! `fuzz-rego` of the temporary folder, and the next run begins with it.

use std::path::Path;
use std::process::Command;

/// What the compiler adds so that libFuzzer sees which code was reached. The stable compiler takes it.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on";
/// Policies of the generator that the first run begins with.
const POLICIES: &str = "2000";

pub(crate) fn run(root: &Path) -> Result<Vec<String>, String> {
    let seconds = std::env::args().nth(3).unwrap_or_else(|| "60".to_owned());
    let folder = std::env::temp_dir().join("fuzz-rego");
    let corpus = folder.join("corpus");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let host = "x86_64-unknown-linux-gnu";
    if !corpus.exists() {
        std::fs::create_dir_all(&corpus).map_err(|e| e.to_string())?;
        let mut write = Command::new(&cargo);
        write.args(["run", "--quiet", "--release", "--package", "fuzz-rego", "--", "corpus", POLICIES]);
        done(write.arg(&corpus).current_dir(root))?;
    }
    let mut fuzz = Command::new(&cargo);
    fuzz.args(["run", "--quiet", "--release", "--package", "fuzz-rego", "--features", "guided", "--bin", "guided"]);
    // Programs that run while others are built are not counted: a target of its own keeps them apart.
    fuzz.args(["--target", host, "--", "-max_len=4097", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", folder.display()));
    fuzz.arg(&corpus).env("RUSTFLAGS", COUNTERS).env("CARGO_TARGET_DIR", folder.join("target"));
    done(fuzz.current_dir(root))?;
    Ok(vec![])
}

fn done(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
}
