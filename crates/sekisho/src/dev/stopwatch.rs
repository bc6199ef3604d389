use std::io::IsTerminal;
use std::path::Path;

use sekisho_runtime::instant;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::exit::Failure;
use crate::output::{Format, line};

/// Prints milestones as they are reached, with the time since the start.
pub(super) struct Stopwatch {
    started: Instant,
    format: Format,
    /// What to type for `sekisho`: the name if the shell finds it, else the path.
    program: String,
    /// Options that lead the commands to a folder that is not the default one.
    options: String,
}

impl Stopwatch {
    pub(super) fn start(format: Format, folder: Option<&Path>) -> Self {
        let options = folder.map(|folder| {
            let socket = |name: &str| folder.join(name).display().to_string();
            format!(" --server-socket {} --agent {}", socket("server/api.sock"), socket("agent/agent.sock"))
        });
        Self { started: instant(), format, program: program(), options: options.unwrap_or_default() }
    }

    /// One milestone: what was reached, the facts, and the command that shows more.
    pub(super) fn reached(&self, milestone: &str, text: &str, facts: Value, more: &str) -> Result<(), Failure> {
        let more = format!("{} {more}{}", self.program, self.options);
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.format == Format::Table {
            return line(&format!("{:>7.3} s  {text}\n           {more}", self.started.elapsed().as_secs_f64()));
        }
        let mut object = Map::new();
        object.insert("milestone".into(), milestone.into());
        object.insert("ms".into(), millis.into());
        object.extend(facts.as_object().cloned().unwrap_or_default());
        object.insert("more".into(), more.as_str().into());
        line(&Value::Object(object).to_string())
    }

    /// A remark, on stderr.
    pub(super) fn note(&self, text: &str) {
        eprintln!("sekisho: {text}");
    }

    /// A remark that is easily overlooked, in red where that is a terminal (<https://no-color.org>).
    pub(super) fn alert(&self, text: &str) {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.note(&alert_text(text, std::io::stderr().is_terminal() && !plain));
    }
}

fn alert_text(text: &str, red: bool) -> String {
    // A file's name in it may hold sequences for the terminal.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if red { format!("\u{1b}[31m{text}\u{1b}[0m") } else { text }
}

fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "sekisho".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("sekisho")).find(|file| file.is_file());
    let same = found.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == own);
    if same { "sekisho".to_owned() } else { own.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::alert_text;

    #[test]
    fn an_alert_is_red_on_a_terminal_and_plain_elsewhere() {
        assert_eq!(alert_text("a\u{1b}[2Jb\n", true), "\u{1b}[31ma [2Jb \u{1b}[0m");
        assert_eq!(alert_text("a", false), "a");
    }
}
