//! Lines that are commands and not Rego.

use sekisho_rego::tracers::Detail;

/// What a line asks of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Show,
    Dump,
    Exit,
    Json(bool),
    Trace(Option<Detail>),
    /// The same as a further trace, and off if it is on.
    Toggle(Detail),
    Profile,
    Metrics,
    Unset(String),
    Package(String),
    Import(String),
}

/// The commands with what each does.
const HELP: [(&str, &str); 15] = [
    ("<rule>", "add a rule to the package; `x := 1` replaces the rules of `x`"),
    ("<query>", "evaluate a query"),
    ("input := <term>", "set the input"),
    ("package <path>", "begin another package without rules"),
    ("import <reference>", "add an import to the package"),
    ("show", "print the package"),
    ("unset <name>", "delete the rules of a name, `input`, or the import of a name"),
    ("dump", "print the base documents"),
    ("json, pretty", "choose how results are printed"),
    ("trace [mode]", "explain each query: full, notes, fails, debug or off; without a mode, full or off"),
    ("notes, fails", "switch the trace of this mode on or off"),
    ("profile", "switch the profile of each query on or off"),
    ("metrics", "switch the time of each query on or off"),
    ("help", "print this list"),
    ("exit", "end; so does Ctrl-D"),
];

/// Words that complete to a command.
pub(super) const WORDS: [&str; 15] = [
    "dump", "exit", "fails", "help", "import", "input", "json", "metrics", "notes", "package", "pretty", "profile",
    "show", "trace", "unset",
];

pub(super) fn help() -> String {
    let width = HELP.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    HELP.map(|(name, what)| format!("{name:<width$}  {what}")).join("\n")
}

/// The command of a line; none where it is Rego. A name that rules define is Rego, not a command.
pub(super) fn read(line: &str, is_rule: impl Fn(&str) -> bool) -> Option<Result<Command, String>> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if is_rule(first) {
        return None;
    }
    let rest: Vec<&str> = words.collect();
    let alone = |command: Command| rest.is_empty().then_some(Ok(command));
    let named = |make: fn(String) -> Command, what: &str| {
        if rest.is_empty() { Err(format!("`{first}` needs {what}")) } else { Ok(make(rest.join(" "))) }
    };
    match first {
        "help" => Some(Ok(Command::Help)),
        "show" => alone(Command::Show),
        "dump" => alone(Command::Dump),
        "exit" | "quit" => alone(Command::Exit),
        "json" => alone(Command::Json(true)),
        "pretty" => alone(Command::Json(false)),
        "notes" => alone(Command::Toggle(Detail::Notes)),
        "fails" => alone(Command::Toggle(Detail::Fails)),
        "profile" => alone(Command::Profile),
        "metrics" => alone(Command::Metrics),
        "unset" => Some(named(Command::Unset, "a name")),
        "package" => Some(named(Command::Package, "a path")),
        "import" => Some(named(Command::Import, "a reference")),
        "trace" => match rest.as_slice() {
            [] => Some(Ok(Command::Toggle(Detail::Full))),
            ["off"] => Some(Ok(Command::Trace(None))),
            ["full"] => Some(Ok(Command::Trace(Some(Detail::Full)))),
            ["notes"] => Some(Ok(Command::Trace(Some(Detail::Notes)))),
            ["fails"] => Some(Ok(Command::Trace(Some(Detail::Fails)))),
            ["debug"] => Some(Ok(Command::Trace(Some(Detail::Debug)))),
            _ => Some(Err("a trace is full, notes, fails, debug or off".to_owned())),
        },
        _ => None,
    }
}
