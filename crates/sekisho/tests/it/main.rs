//! The command line as a user meets it, without any server. Having an integration test also makes `cargo test` build
//! the binary that the lab runs.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as loudly as tests do")]

mod completion;
mod policies;
mod screens;
mod selftest;
mod servers;
mod wrong;

use std::process::{Command, Output};

fn sekisho(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sekisho");
    Command::new(program).args(arguments).env_remove("SEKISHO_SERVER_SOCKET").output().unwrap()
}

fn code(arguments: &[&str]) -> i32 {
    sekisho(arguments).status.code().unwrap()
}

#[test]
fn exit_codes_are_as_documented() {
    assert_eq!(code(&["--help"]), 0);
    assert_eq!(code(&["--version"]), 0);
    assert_eq!(code(&["no-such-verb"]), 3);
    assert_eq!(code(&["why", "identity"]), 3);
    assert_eq!(code(&["entry", "list", "--server-socket", "/nonexistent/api.sock"]), 4);
    assert_eq!(code(&["svid", "fetch", "--agent-socket", "/nonexistent/agent.sock"]), 4);
    assert_eq!(code(&["verify", "/nonexistent", "--trust-policy", "/nonexistent"]), 1);
}

#[test]
fn every_error_says_what_to_do_next() {
    let folder = std::env::temp_dir().join(format!("sekisho-advice-{}", std::process::id()));
    let data = folder.to_str().unwrap();
    for (arguments, advice) in [
        (&["entry", "list", "--server-socket", "/nonexistent/api.sock"][..], "--server-socket"),
        (&["svid", "fetch", "--agent-socket", "/nonexistent/agent.sock"], "--agent-socket"),
        (&["agent", "--trust-domain", "td", "--data", data], "--fingerprint"),
        (&["proxy", "--trust-domain", "td", "--data", data], "--inbound"),
    ] {
        let output = sekisho(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(advice), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "data goes to stdout, errors to stderr");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn completions_and_openapi_come_from_the_code() {
    let folder = std::env::temp_dir().join(format!("sekisho-man-{}", std::process::id()));
    assert!(sekisho(&["man", folder.to_str().unwrap()]).status.success());
    for page in ["sekisho.1", "sekisho-server.1", "sekisho-policy-replay.1"] {
        assert!(std::fs::read_to_string(folder.join(page)).unwrap().contains(".TH"), "{page}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let made = sekisho(&["completions", shell]);
        assert!(String::from_utf8_lossy(&made.stdout).contains("sekisho"), "{shell}");
    }
    let document: serde_json::Value = serde_json::from_slice(&sekisho(&["openapi"]).stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "/metrics",
            "/v1/agents",
            "/v1/agents/attest",
            "/v1/agents/ban",
            "/v1/agents/evidence",
            "/v1/alerts",
            "/v1/bundle",
            "/v1/changes",
            "/v1/compile",
            "/v1/decisions",
            "/v1/decisions/follow",
            "/v1/decisions/{id}",
            "/v1/drills",
            "/v1/entries",
            "/v1/entries/{id}",
            "/v1/health",
            "/v1/identities",
            "/v1/log",
            "/v1/log/consistency/{old_size}/{new_size}",
            "/v1/policy",
            "/v1/proofs/{id}",
            "/v1/revocations",
            "/v1/tokens",
            "/v1/tokens/{id}",
            "/v1/tpms",
        ]
    );
}
