//! The pictures of a terminal in docs/img show what the program prints now. `docs/img/terminal.sh` makes them.

use std::path::Path;

use crate::servers::{Servers, command, server};

/// The lines of a picture.
fn lines(columns: usize) -> Vec<String> {
    let path = format!("{}/../../docs/img/terminal-{columns}.svg", env!("CARGO_MANIFEST_DIR"));
    let svg = std::fs::read_to_string(path).unwrap();
    let texts = svg.lines().filter_map(|line| line.strip_prefix("<text")?.split_once('>'));
    let plain = texts.map(|(_, text)| {
        let parts = text.split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
        parts.collect::<String>().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    });
    plain.collect()
}

/// The lines that follow this command, up to the next one.
fn shown(lines: &[String], command: &str) -> Vec<String> {
    let after = lines.iter().skip_while(|line| line.as_str() != format!("$ {command}")).skip(1);
    after.take_while(|line| !line.starts_with("$ ")).cloned().collect()
}

/// The names of checks, which follow a mark.
fn checks(lines: &[String]) -> Vec<String> {
    let named = lines.iter().filter_map(|line| line.trim_start().strip_prefix(['√', '×']));
    named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn printed(folder: &Path, line: &str, columns: usize) -> Vec<String> {
    let mut command = command(folder, &format!("{line} --server-socket {}/s/api.sock", folder.display()));
    let output = command.env("COLUMNS", columns.to_string()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn pictures_show_what_the_program_prints() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let _servers = Servers(vec![server(folder, "--trust-domain td --data s")]);
    let entry = "sekisho entry create --spiffe-id spiffe://td/a --parent-id spiffe://td/n --selector unix:uid:1000";
    printed(folder, entry, 80);
    for columns in [80, 120] {
        let picture = lines(columns);
        assert!(picture.iter().all(|line| line.chars().count() <= columns), "{columns}: {picture:#?}");
        for line in picture.iter().filter_map(|line| line.strip_prefix("$ ")).filter(|line| !line.is_empty()) {
            assert!(command(folder, &format!("{line} --help")).output().unwrap().status.success(), "{line}");
        }
        let titles = |lines: &[String]| lines[0].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let entries = shown(&picture, "sekisho entries");
        assert_eq!(titles(&entries), titles(&printed(folder, "sekisho entries", columns)), "{columns}");
        let (there, here) = (checks(&shown(&picture, "sekisho doctor")), printed(folder, "sekisho doctor", columns));
        let missing: Vec<String> = checks(&here).into_iter().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty() && there.len() > 20, "{columns}: run docs/img/terminal.sh: {missing:?}");
        // A duration is for people there, too.
        let expiry = shown(&picture, "sekisho doctor").into_iter().find(|line| line.contains("agent-svid")).unwrap();
        assert!(expiry.contains("expires in 3h"), "{expiry}");
    }
}
