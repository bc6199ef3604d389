//! `selftest bypass` on this machine's kernel.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

fn skipped(test: &str, why: &str) {
    let _unread = writeln!(std::io::stderr(), "\nskipped: {test}: {}", why.trim().replace('\n', " "));
}

#[test]
fn the_self_test_finds_no_bypass() {
    let output = crate::sekisho(&["selftest", "bypass", "-o", "json"]);
    let why = String::from_utf8_lossy(&output.stderr);
    if why.contains("cannot put rules into the kernel") {
        return skipped("the_self_test_finds_no_bypass", &why);
    }
    assert_eq!(output.status.code(), Some(0), "{why}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |technique: &str| findings.iter().find(|finding| finding["technique"] == technique).unwrap();
    assert_eq!((&of("tcp4")["outcome"], &of("tcp4")["by"]), (&"blocked".into(), &"connect4".into()));
    assert_eq!((&of("raw4")["outcome"], &of("raw4")["by"]), (&"blocked".into(), &"sock_create".into()));
    assert_eq!(of("unix-relay")["outcome"], "not_governed");
    assert_eq!(report["bypasses"], 0);
    assert_eq!(report["programs"].as_array().unwrap().len(), 10);
}

#[test]
fn the_self_test_names_the_rights_it_lacks() {
    let test = "the_self_test_names_the_rights_it_lacks";
    let without = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--", env!("CARGO_BIN_EXE_sekisho"), "selftest", "bypass"])
        .output();
    let Ok(output) = without else { return skipped(test, "no setpriv here") };
    let why = String::from_utf8_lossy(&output.stderr);
    if why.contains("setpriv") {
        return skipped(test, &why);
    }
    assert_eq!(output.status.code(), Some(5), "{why}");
    for right in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "run it as root"] {
        assert!(why.contains(right), "{right}: {why}");
    }
    assert!(output.stdout.is_empty());
}
