//! A daemon's configuration file: TOML whose keys are the names of its flags. Flags take
//! precedence over environment variables, and those over the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches};
use sekisho_runtime::{Settings, load_configuration};
use sekisho_server::DomainArgs;

use crate::cli::{Cli, Verb, with_list};
use crate::suggest;

const DAEMONS: [&str; 3] = ["server", "agent", "proxy"];

/// Parses the command line, with what a configuration file adds to it.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let arguments = with_list(arguments);
    let (mut command, mut further) = (Cli::command(), vec![]);
    if let Some((daemon, path, flags)) = named(&arguments) {
        let given = |id: &str| {
            let source = flags.try_contains_id(id).is_ok_and(|known| known).then(|| flags.value_source(id)).flatten();
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        (command, further) = with_file(command, daemon, &path, given)
            .map_err(|reason| Cli::command().error(clap::error::ErrorKind::InvalidValue, reason))?;
    }
    let grammar = command.clone();
    let matches = with_environment(command).try_get_matches_from(&arguments);
    let matches = matches.map_err(|error| suggest::improve(error, &grammar, &arguments))?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Verb::Server(role) = &mut cli.verb {
        role.own.further = further;
    }
    Ok(cli)
}

/// A flag whose variable is set is given: clap's usage would list it as missing all the same.
fn with_environment(command: Command) -> Command {
    let is_set = |name: &OsStr| std::env::var_os(name).is_some();
    let given = |flag: Arg| match flag.get_env().is_some_and(is_set) {
        true => flag.required(false),
        false => flag,
    };
    command.mut_args(given).mut_subcommands(with_environment)
}

/// The daemon that is to run, and the file that was named for it.
fn named(arguments: &[OsString]) -> Option<(&'static str, PathBuf, ArgMatches)> {
    // Flags that only the file gives are missing here; the whole is parsed again with them.
    let found = Cli::command().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    let (name, flags) = found.subcommand()?;
    let daemon = DAEMONS.into_iter().find(|daemon| *daemon == name)?;
    let path = flags.try_get_one::<PathBuf>("config").ok().flatten()?;
    Some((daemon, path.clone(), flags.clone()))
}

/// The grammar with a file's settings as defaults, and the further trust domains of the file.
fn with_file(
    command: Command,
    daemon: &str,
    path: &Path,
    given: impl Fn(&str) -> bool,
) -> Result<(Command, Vec<DomainArgs>), String> {
    let file = load_configuration(path).map_err(|error| error.to_string())?;
    let found = || {
        let verb = command.find_subcommand(daemon).cloned().unwrap_or_default();
        let verb = with_settings(verb, &format!("`sekisho {daemon}`"), file.settings, given)?;
        Ok::<_, String>((verb, further(daemon, file.tables)?))
    };
    let (verb, further) = found().map_err(|reason| format!("configuration file {}: {reason}", path.display()))?;
    Ok((command.mut_subcommand(daemon, |_| verb), further))
}

/// The trust domains that a server's file adds (`[[domain]]`).
fn further(daemon: &str, tables: BTreeMap<String, Vec<Settings>>) -> Result<Vec<DomainArgs>, String> {
    let mut further = vec![];
    for (name, tables) in tables {
        if (daemon, name.as_str()) != ("server", "domain") {
            return Err(format!("`[[{name}]]` is not a setting of `sekisho {daemon}`"));
        }
        for settings in tables {
            further.push(domain(settings).map_err(|reason| format!("a `[[domain]]`: {reason}"))?);
        }
    }
    Ok(further)
}

fn domain(settings: Settings) -> Result<DomainArgs, String> {
    for needed in ["trust-domain", "data"] {
        if !settings.contains_key(needed) {
            return Err(format!("it has no `{needed}`; each trust domain has a name and a folder of its own"));
        }
    }
    let command = DomainArgs::augment_args(Command::new("domain").no_binary_name(true));
    // Variables are of the first trust domain.
    let command = command.mut_args(|flag| flag.env(None::<&'static str>));
    let command = with_settings(command, "a `[[domain]]`, but may be one of the server", settings, |_| false)?;
    let parsed = command.try_get_matches_from([""; 0]).and_then(|matches| DomainArgs::from_arg_matches(&matches));
    parsed.map_err(|error| error.to_string())
}

/// A verb with these settings as defaults; `of` names it.
fn with_settings(
    mut verb: Command,
    of: &str,
    settings: Settings,
    given: impl Fn(&str) -> bool,
) -> Result<Command, String> {
    for (key, values) in settings {
        let flag = verb.get_arguments().find(|flag| flag.get_long() == Some(key.as_str()) && key != "config");
        let Some(flag) = flag else {
            return Err(format!("`{key}` is not a setting of {of}; `--help` lists the settings"));
        };
        // A flag that excludes this setting takes precedence, as the same flag would.
        if verb.get_arg_conflicts_with(flag).iter().any(|other| given(other.get_id().as_str())) {
            continue;
        }
        if values.len() != 1 && flag.get_value_delimiter().is_none() {
            return Err(format!("`{key}` takes one value"));
        }
        // What the file gives need not be given again.
        let id = flag.get_id().clone();
        verb = verb.mut_arg(id, |flag| flag.required(false).default_values(values));
    }
    Ok(verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::agent::AgentNoun;

    fn parse_with(text: &str, arguments: &[&str]) -> Result<Cli, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut line: Vec<OsString> = ["sekisho"].iter().chain(arguments).map(OsString::from).collect();
        line.push(format!("--config={}", file.path().display()).into());
        parse(line).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_gives_what_no_flag_does() {
        let text = "trust-domain = 'td.example'\ndata = '/d'\ninbound = '127.0.0.1:9443'\nupstream = 'unix:/run/s'\n\
                    protocol = 'h2c'\nthreads = 2\noutbound = ['127.0.0.1:1=h:2=spiffe://td/a', \
                    '127.0.0.1:3=h:4=spiffe://td/b']\n";
        let cli = parse_with(text, &["proxy", "--protocol", "tcp", "--workload-pid", "7"]).unwrap();
        let Verb::Proxy(args) = cli.verb else { panic!("another verb") };
        let args = args.own;
        assert_eq!((args.protocol, args.outbound.len(), args.threads), (Some(sekisho_proxy::Protocol::Tcp), 2, 2));
        assert_eq!(args.trust_domain.as_str(), "td.example");
    }

    #[test]
    fn a_flag_overrides_the_settings_it_excludes() {
        let text = "trust-domain = 'td'\ndata = '/d'\ntrust-bundle = '/b.pem'\n";
        let fingerprint = "ab".repeat(32);
        let line = ["agent", "--fingerprint", &fingerprint];
        let Verb::Agent(AgentNoun::Daemon(args)) = parse_with(text, &line).unwrap().verb else {
            panic!("another verb")
        };
        assert!(args.own.trust_bundle.is_none() && !args.own.fingerprint.is_empty());
        let Verb::Agent(AgentNoun::Daemon(args)) = parse_with(text, &["agent"]).unwrap().verb else {
            panic!("another verb")
        };
        assert!(args.own.trust_bundle.is_some());
    }

    #[test]
    fn a_file_adds_trust_domains() {
        let text = "trust-domain = 'a.example'\ndata = '/a'\nx509-ttl = '600s'\n\n[[domain]]\ntrust-domain = \
            'b.example'\n\
                    data = '/b'\npublish-log = true\nserver-name = ['b.net', 'b.org']\n\n[[domain]]\ntrust-domain = \
                    'c.example'\n\
                    data = '/c'\njwt-ttl = '60s'\n";
        let line = ["server", "--policy-folder", "/p", "--agent-ttl", "60s"];
        let Verb::Server(role) = parse_with(text, &line).unwrap().verb else { panic!("another verb") };
        let args = role.own;
        assert_eq!((args.own.trust_domain.as_str(), args.own.x509_ttl_seconds), ("a.example", 600));
        let [b, c] = args.further.try_into().unwrap();
        assert_eq!((b.trust_domain.as_str(), b.data.to_str(), b.publish_log), ("b.example", Some("/b"), true));
        assert_eq!(b.server_names, ["b.net", "b.org"]);
        // Neither the first domain's settings nor the flags are those of a further one.
        assert_eq!((b.x509_ttl_seconds, b.agent_ttl_seconds, b.policy_folder), (900, 14_400, None));
        assert_eq!((c.jwt_ttl_seconds, c.publish_log), (60, false));
    }

    #[test]
    fn a_wrong_trust_domain_table_is_refused() {
        for (table, part) in [
            ("data = '/b'", "a `[[domain]]`: it has no `trust-domain`"),
            ("trust-domain = 'b'", "it has no `data`"),
            ("trust-domain = 'b'\ndata = '/b'\nlisten = '127.0.0.1:1'", "`listen` is not a setting of a `[[domain]]`"),
            ("trust-domain = 'B'\ndata = '/b'", "invalid value 'B'"),
            ("trust-domain = 'b'\ndata = '/b'\njwt-ttl = '301s'", "301"),
            ("trust-domain = 'b'\ndata = ['/b', '/c']", "`data` takes one value"),
        ] {
            let text = format!("[[domain]]\n{table}\n");
            let refused = parse_with(&text, &["server", "--trust-domain", "a"]).unwrap_err();
            assert!(refused.contains(part), "{table}: {refused}");
        }
        let refused = parse_with("[[domain]]\ndata = '/b'\n", &["agent", "--trust-domain", "a"]).unwrap_err();
        assert!(refused.contains("`[[domain]]` is not a setting of `sekisho agent`"), "{refused}");
    }

    #[test]
    fn a_file_with_an_unknown_setting_is_refused() {
        for (text, part) in [
            ("upstraem = 'typo'\n", "`upstraem` is not a setting of `sekisho proxy`"),
            ("inbound = 'nowhere'\n", "nowhere"),
            ("data = ['/a', '/b']\n", "`data` takes one value"),
            ("config = '/other'\n", "`config` is not a setting"),
            ("threads = 1.5\n", "`threads` is neither"),
            ("threads = \n", "configuration file"),
            ("upstream = '10.0.0.1:80'\n", "not on this machine"),
        ] {
            let refused = parse_with(text, &["proxy", "--trust-domain", "td", "--data", "/d"]).unwrap_err();
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }

    #[test]
    fn the_examples_that_are_shipped_are_taken_whole() {
        for daemon in DAEMONS {
            let path = format!("{}/../../deploy/config/{daemon}.toml", env!("CARGO_MANIFEST_DIR"));
            let line = ["sekisho", daemon, "--config", &path].map(OsString::from);
            parse(line.to_vec()).unwrap_or_else(|error| panic!("{daemon}: {error}"));
        }
    }
}
