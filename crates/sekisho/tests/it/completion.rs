//! What a shell offers when a person presses the tab key: verbs, flags, and ids that a server lists.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::servers::{PROGRAM, Servers, command, server};

/// A server with one entry, whose id is returned.
fn with_an_entry(folder: &Path) -> (Servers, String) {
    let servers = Servers(vec![server(folder, "--trust-domain td --data s")]);
    let line = "sekisho entry create --spiffe-id spiffe://td/a --parent-id spiffe://td/n --selector unix:uid:1000 \
                --server-socket s/api.sock -o json";
    let output = command(folder, line).output().unwrap();
    let created: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (servers, created.get("id").unwrap().as_str().unwrap().to_owned())
}

/// What this shell prints for a script that it reads from stdin, or `None` if this machine does not have the shell.
fn run(shell: &str, folder: &Path, script: &str) -> Option<String> {
    let mut command = Command::new(shell);
    command.current_dir(folder).env("SEKISHO_SERVER_SOCKET", folder.join("s/api.sock"));
    let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let spawned = command.env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Past the harness, which shows nothing of a test that passes.
        let _unread = write!(std::io::stderr(), "\nskipped: {test}: no {shell} here\n");
        return None;
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_verbs_flags_and_ids() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (_servers, id) = with_an_entry(folder.path());
    let complete = |words: &str| {
        let script = format!(
            "source <(sekisho completions bash)\nCOMP_WORDS=({words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             COMP_TYPE=9\n_clap_complete_sekisho sekisho \"${{COMP_WORDS[COMP_CWORD]}}\" 2>/dev/null\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let found = run("bash", folder.path(), &script);
        found.map(|found| found.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let Some(verbs) = complete("sekisho entry ''") else { return };
    assert!(["list", "show", "create"].iter().all(|verb| verbs.iter().any(|found| found == verb)), "{verbs:?}");
    assert_eq!(complete("sekisho entry list --outp").unwrap(), ["--output"]);
    assert_eq!(complete("sekisho entry show ''").unwrap().first(), Some(&id));
    assert_eq!(complete(&format!("sekisho entry delete {}", id.get(..8).unwrap())).unwrap(), [id.as_str()]);
}

#[test]
fn fish_completes_ids() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (_servers, id) = with_an_entry(folder.path());
    let script = "sekisho completions fish | source\ncomplete -C 'sekisho entry show '\n";
    let Some(found) = run("fish", folder.path(), script) else { return };
    assert!(found.lines().any(|line| line.starts_with(&id)), "{found}");
}

/// The completion system of zsh needs a terminal: this asks as its registered function does.
#[test]
fn zsh_is_answered_with_ids() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (_servers, id) = with_an_entry(folder.path());
    let script =
        String::from_utf8(Command::new(PROGRAM).args(["completions", "zsh"]).output().unwrap().stdout).unwrap();
    assert!(script.contains("#compdef sekisho") && script.contains("SEKISHO_COMPLETE=\"zsh\""), "{script}");
    let mut asked = command(folder.path(), "sekisho -- sekisho entry show");
    asked.arg("").env("SEKISHO_COMPLETE", "zsh").env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_INDEX", "3");
    let output = asked.env("SEKISHO_SERVER_SOCKET", folder.path().join("s/api.sock")).output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.lines().any(|line| line.starts_with(&id)), "{found}");
}

#[test]
fn help_and_version_are_verbs() {
    let printed = |line: &str| {
        let output = command(Path::new("/"), line).output().unwrap();
        assert!(output.status.success(), "{line}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed("sekisho version"), printed("sekisho --version"));
    assert_eq!(printed("sekisho help"), printed("sekisho --help"));
    assert_eq!(printed("sekisho help entry list"), printed("sekisho entry list --help"));
    assert_eq!(printed("sekisho help agent list"), printed("sekisho agent list --help"));
    assert!(printed("sekisho help server").contains("SEKISHO_TRUST_DOMAIN"));
}
