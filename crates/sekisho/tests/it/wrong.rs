//! Wrong command lines and what a person sees: `wrong_commands.txt` holds both. `UPDATE=1` writes it anew, to be read
//! before it is committed.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::servers::{PROGRAM, Servers, command, server};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/wrong_commands.txt");

/// Files that are wrong in one way each, sockets of each kind, and two servers: one follows a folder, one has no
/// policy.
fn prepared(folder: &Path) -> Servers {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("policy/p.rego", "package workload.authz\n\ndefault allow := false\n\nallow if input.method == \"GET\"\n");
    write("broken/p.rego", "package workload.authz\n\nallow if { input.method == }\n");
    write("empty/readme", "");
    write("broken.json", "{");
    write("request.json", "{\"method\": 5}");
    write("unknown.toml", "trust-domain = 'td'\nx509-tll = '15m'\n");
    write("seconds.toml", "trust-domain = 'td'\nx509-ttl = 900\n");
    write("plain-file", "");
    write("closed/file", "");
    drop(UnixListener::bind(folder.join("dead.sock")).unwrap());
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::fs::copy(PROGRAM, folder.join("bin/sekisho")).unwrap();
    let servers = Servers(vec![
        server(folder, "--trust-domain td --data s --policy-folder policy"),
        server(folder, "--trust-domain td --data bare"),
    ]);
    for name in ["a", "b"] {
        let line = format!(
            "sekisho entry create --spiffe-id spiffe://td/{name} --parent-id spiffe://td/spire/agent/join_token/n \
                --selector unix:uid:1000 --selector unix:path:/bin/{name} --server-socket s/api.sock"
        );
        assert!(command(folder, &line).output().unwrap().status.success());
    }
    servers
}

/// What differs from run to run: the folder, and the digits of ids.
fn settled(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "$DIR").replace(PROGRAM, "sekisho");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("ent_") {
        let (before, found) = rest.split_at(at + 4);
        let digits = found.bytes().take_while(u8::is_ascii_hexdigit).count();
        let (id, after) = found.split_at(digits);
        out.push_str(before);
        // One that was given stays.
        out.push_str(if digits == 24 { "…" } else { id });
        rest = after;
    }
    out + rest
}

#[test]
fn wrong_command_lines_are_answered_as_written() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let _servers = prepared(folder);
    let stored = std::fs::read_to_string(FILE).unwrap();
    let head: String =
        stored.lines().take_while(|line| !line.starts_with("$ ")).map(|line| format!("{line}\n")).collect();
    // Only root becomes another user.
    let others = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !others {
        // Past the harness, which shows nothing of a test that passes.
        let line = b"\nskipped: wrong_command_lines_of_another_user: not root, so there is no other user\n";
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), line);
    }
    let (mut seen, mut count) = (head, 0);
    for line in stored.lines().filter_map(|line| line.strip_prefix("$ ")) {
        if line.contains("other:") && !others {
            writeln!(seen, "$ {line}\n").unwrap();
            continue;
        }
        let output = command(folder, line).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{line} is right: {text}");
        let text = settled(text.trim_end(), folder);
        let text: String = text.lines().map(|line| format!("  {line}\n").replace("  \n", "\n")).collect();
        write!(seen, "$ {line}\n# exit code {}\n{text}\n", output.status.code().unwrap()).unwrap();
        count += 1;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &seen).unwrap();
    }
    assert!(count >= 40, "{count}");
    for (stored, seen) in stored.split("\n$ ").zip(seen.split("\n$ ")) {
        // A line that was added waits for its answer.
        if stored.trim_end().contains('\n') && seen.trim_end().contains('\n') {
            assert_eq!(stored.trim_end(), seen.trim_end());
        }
    }
}

#[test]
fn an_unknown_parent_is_warned_of() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let _servers = Servers(vec![server(folder, "--trust-domain td --data s")]);
    let create = |name: &str, parent: &str, more: &str| {
        let line = format!(
            "sekisho entry create --spiffe-id spiffe://td/{name} --parent-id spiffe://td/{parent} \
             --selector unix:uid:7 --server-socket s/api.sock{more}"
        );
        let output = command(folder, &line).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    let warning = create("a", "typo", "");
    assert!(warning.contains("warning: no agent or entry has the SPIFFE ID `spiffe://td/typo` yet"), "{warning}");
    // An alias of nodes, a parent that is registered, and a program that reads the output.
    for (name, parent, more) in [("b", "spire/server", ""), ("c", "a", ""), ("d", "typo", " -o json")] {
        assert_eq!(create(name, parent, more), "", "{name}");
    }
}
