use std::path::Path;

use clap::Command;
use sekisho_runtime::instant;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::exit::Failure;
use crate::output::{Format, alert, line};

/// Prints milestones as they are reached, with the time since the start.
pub(super) struct Stopwatch {
    started: Instant,
    format: Format,
    /// What to type for `sekisho`: the name if the shell finds it, else the path.
    program: String,
    /// The sockets of server and agent in a folder that is not the default one.
    sockets: Option<(String, String)>,
    grammar: Command,
}

impl Stopwatch {
    pub(super) fn start(format: Format, folder: Option<&Path>, grammar: Command) -> Self {
        let socket = |folder: &Path, name: &str| folder.join(name).display().to_string();
        let sockets = folder.map(|folder| (socket(folder, "server/api.sock"), socket(folder, "agent/agent.sock")));
        Self { started: instant(), format, program: program(), sockets, grammar }
    }

    /// One milestone: what was reached, the facts, and the command that shows more.
    pub(super) fn reached(&self, milestone: &str, text: &str, facts: Value, more: &str) -> Result<(), Failure> {
        let options = self
            .sockets
            .as_ref()
            .map(|(server, agent)| options(&self.grammar, more, server, agent))
            .unwrap_or_default();
        let more = format!("{} {more}{options}", self.program);
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.format.is_for_people() {
            return line(&format!("{:>7.3} s  {text}\n           {more}", self.started.elapsed().as_secs_f64()));
        }
        let mut object = Map::new();
        object.insert("milestone".into(), milestone.into());
        object.insert("ms".into(), millis.into());
        object.extend(facts.as_object().cloned().unwrap_or_default());
        object.insert("more".into(), more.as_str().into());
        line(&Value::Object(object).to_string())
    }

    /// Something that happened, on stderr: it is not a milestone.
    pub(super) fn happened(&self, text: &str) {
        if self.format.is_for_people() {
            eprintln!("{text}");
        }
    }

    /// A remark, on stderr.
    pub(super) fn note(&self, text: &str) {
        eprintln!("sekisho: {text}");
    }

    /// A remark that is easily overlooked.
    pub(super) fn alert(&self, text: &str) {
        self.note(&alert(text));
    }
}

/// The options for sockets that a command has, by the grammar.
pub(crate) fn options(grammar: &Command, command: &str, server: &str, agent: &str) -> String {
    let (mut at, mut out, mut known) = (grammar, String::new(), vec![]);
    for word in command.split(' ') {
        let Some(verb) = at.find_subcommand(word) else { break };
        // A noun that is also a program has flags of its own, which its verbs do not take.
        let passed_on = at.get_arguments().filter(|flag| flag.is_global_set());
        known.extend(passed_on.filter_map(|flag| flag.get_long().map(str::to_owned)));
        at = verb;
    }
    known.extend(at.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)));
    for (flag, socket) in [("server-socket", server), ("agent-socket", agent)] {
        if known.iter().any(|known| known == flag) {
            out.push_str(&format!(" --{flag} {socket}"));
        }
    }
    out
}

fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "sekisho".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("sekisho")).find(|file| file.is_file());
    let same = found.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == own);
    if same { "sekisho".to_owned() } else { own.display().to_string() }
}
