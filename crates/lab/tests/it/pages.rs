//! Pages whose commands a reader types, read as a shell reads them.

use std::path::PathBuf;

use crate::world::manifest_folder;

pub fn documents() -> PathBuf {
    manifest_folder().join("../../docs")
}

/// One command of a page, its host, and the output that the page shows (`…` stands for any text).
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub host: String,
    pub command: String,
    pub shows: Option<String>,
}

/// What a fenced block holds.
#[derive(Clone, Debug)]
enum Block {
    Commands(String),
    Output,
    Other,
}

impl Block {
    fn of(kind: &str) -> Self {
        match kind.strip_prefix("sh") {
            Some(host) => Self::Commands(host.trim().to_owned()),
            None if kind == "text" => Self::Output,
            None => Self::Other,
        }
    }
}

/// The commands of the fenced `sh` blocks, in order. A command continues behind `\`, to the end of a loop, and to the
/// end of a here-document. A `text` block is the output of the command before it.
pub fn steps(page: &str) -> Vec<Step> {
    let (mut out, mut block, mut command) = (Vec::<Step>::new(), None::<Block>, String::new());
    for line in page.lines() {
        match (&block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some(Block::of(kind)),
            (Some(_), Some(_)) => {
                assert!(command.is_empty(), "a block is closed within a command: {command}");
                block = None;
            }
            (Some(Block::Output), None) => {
                let step = out.last_mut().unwrap_or_else(|| panic!("output without a command: {line}"));
                step.shows.get_or_insert_default().push_str(&format!("{line}\n"));
            }
            (None | Some(Block::Other), None) => {}
            (Some(Block::Commands(host)), None) => {
                command.push_str(line);
                let begins = command.contains("<<'END'") || command.contains("<<END");
                let document = begins && line != "END";
                let inner = command.starts_with("for ") && !line.starts_with("done");
                if line.ends_with('\\') || document || inner {
                    command.push('\n');
                } else if !command.trim().is_empty() {
                    out.push(Step { host: host.clone(), command: std::mem::take(&mut command), shows: None });
                }
            }
        }
    }
    out
}

/// Whether a text is what the page shows of it: `…` stands for any text, also for lines.
pub fn fits(shown: &str, printed: &str) -> bool {
    let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned();
    let (shown, printed) = (plain(shown), plain(printed));
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn shown_output_fits_with_gaps() {
    assert!(fits("a … c\n", "a b c  \n"));
    assert!(fits("a\n…\nz\n", "a\nb\nc\nz\n"));
    assert!(!fits("a\n", "a\nb\n"));
    assert!(!fits("a … c\n", "a b d\n"));
}

#[test]
fn a_page_is_read_as_a_shell_would() {
    let page = "a\n```sh\nx \\\n  y\nfor s in 1; do\n  z\ndone\n\n```\n```\nno\n```\n```text\none …\ntwo\n```\n\
                ```sh B\ncat > f <<'END'\nq\nEND\n```\n";
    let step = |host: &str, command: &str, shows: Option<&str>| Step {
        host: host.into(),
        command: command.into(),
        shows: shows.map(str::to_owned),
    };
    let read = steps(page);
    let expected = [
        step("", "x \\\n  y", None),
        step("", "for s in 1; do\n  z\ndone", Some("one …\ntwo\n")),
        step("B", "cat > f <<'END'\nq\nEND", None),
    ];
    assert_eq!(read, expected);
}
