//! `sekisho policy repl`: rules and queries, line by line. It writes nothing but its history.

mod commands;
mod complete;
mod session;
#[cfg(test)]
mod tests;

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use sekisho_runtime::{now, parse_time};
use sekisho_types::UnixTime;

use self::complete::Names;
use self::session::{Reply, Session};
use super::workspace;
use crate::exit::{Exit, Failure};
use crate::output::{Stderr, line};

/// Lines that the history keeps.
const HISTORY: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ReplArgs {
    /// Files, and folders with `.rego` files in them and below
    paths: Vec<PathBuf>,
    /// Documents of data: `.json` or `.yaml` files, or folders with them; may be repeated
    #[arg(short, long, env = "SEKISHO_POLICY_DATA")]
    data: Vec<PathBuf>,
    /// File with the input
    #[arg(short, long, env = "SEKISHO_POLICY_INPUT")]
    input: Option<PathBuf>,
    /// The time that policies see, as `2027-01-31T12:00:00Z`; default: that of each query
    #[arg(long, env = "SEKISHO_POLICY_NOW", value_parser = parse_time)]
    now: Option<UnixTime>,
    /// File with the lines that were typed before; default: `sekisho/repl_history` below `~/.local/state`
    #[arg(long, env = "SEKISHO_POLICY_HISTORY", value_hint = clap::ValueHint::FilePath)]
    history: Option<PathBuf>,
}

pub(super) fn run(args: &ReplArgs) -> Result<Exit, Failure> {
    let modules = workspace::modules(&args.paths)?.modules;
    let data = workspace::data(&args.data)?;
    let input = match args.input.as_deref() {
        Some(path) if path == Path::new("-") => {
            return Err(Failure::failed("the lines come from stdin: name a file for the input"));
        }
        Some(path) => Some(workspace::input(path)?),
        None => None,
    };
    let fixed = args.now;
    let clock = move || fixed.unwrap_or_else(now).nanos();
    let mut session = Session::new(modules, data, input, Box::new(clock))?;
    if std::io::stdin().is_terminal() {
        typed(&mut session, args.history.clone().or_else(default_history))
    } else {
        piped(&mut session)
    }
}

/// Lines of a pipe or a file. One that is wrong does not end it; the exit code says so.
fn piped(session: &mut Session) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for text in std::io::stdin().lock().lines() {
        match session.line(&text.map_err(Failure::failed)?) {
            Reply::Exit => return Ok(exit),
            Reply::Wrong(message) => {
                exit = Exit::Failed;
                say(&message);
            }
            Reply::Text(text) if !text.is_empty() => line(&text)?,
            Reply::Text(_) | Reply::More => {}
        }
    }
    if let Reply::Wrong(message) = session.end() {
        exit = Exit::Failed;
        say(&message);
    }
    Ok(exit)
}

fn say(message: &str) {
    let _unread = std::io::Write::write_all(&mut Stderr, format!("{message}\n").as_bytes());
}

/// Lines of a person at a terminal.
fn typed(session: &mut Session, history: Option<PathBuf>) -> Result<Exit, Failure> {
    let config = Config::builder().max_history_size(HISTORY).map_err(Failure::failed)?;
    let config = config.history_ignore_space(true).build();
    let mut editor: Editor<Names, FileHistory> = Editor::with_config(config).map_err(Failure::failed)?;
    if let Some(file) = &history {
        // The first time there is none.
        let _none_yet = editor.load_history(file);
    }
    line("`help` lists the commands; Ctrl-D ends")?;
    let mut more = false;
    loop {
        editor.set_helper(Some(session.names()));
        match editor.readline(if more { "| " } else { "> " }) {
            Ok(text) => {
                let _only_memory = editor.add_history_entry(text.as_str());
                let reply = session.line(&text);
                more = matches!(reply, Reply::More);
                match reply {
                    Reply::Exit => break,
                    Reply::Wrong(message) => say(&message),
                    Reply::Text(text) if !text.is_empty() => line(&text)?,
                    Reply::Text(_) | Reply::More => {}
                }
            }
            Err(ReadlineError::Interrupted) => {
                session.forget();
                more = false;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    if let Some(file) = &history {
        if let Some(folder) = file.parent() {
            let _may_exist = std::fs::create_dir_all(folder);
        }
        editor.save_history(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    }
    Ok(Exit::Ok)
}

/// Below the user's folder for state, if there is one.
fn default_history() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(set.or_else(home)?.join("sekisho/repl_history"))
}
