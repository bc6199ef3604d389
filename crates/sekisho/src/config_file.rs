//! A daemon's configuration file: TOML whose keys are the names of its flags. Flags go first, then environment
//! variables, then the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use sekisho_runtime::{Settings, load_settings};

use crate::cli::Cli;

const DAEMONS: [&str; 3] = ["server", "agent", "proxy"];

/// Parses the command line, with what a configuration file adds to it.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if let Some((daemon, path, flags)) = named(&arguments) {
        let given = |id: &str| {
            let source = flags.try_contains_id(id).is_ok_and(|known| known).then(|| flags.value_source(id)).flatten();
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        command = with_file(command, daemon, &path, given)
            .map_err(|reason| Cli::command().error(clap::error::ErrorKind::InvalidValue, reason))?;
    }
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
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

/// The grammar with a file's settings as defaults.
fn with_file(command: Command, daemon: &str, path: &Path, given: impl Fn(&str) -> bool) -> Result<Command, String> {
    let settings = load_settings(path).map_err(|error| error.to_string())?;
    with_settings(command, daemon, settings, given)
        .map_err(|reason| format!("configuration file {}: {reason}", path.display()))
}

fn with_settings(
    mut command: Command,
    daemon: &str,
    settings: Settings,
    given: impl Fn(&str) -> bool,
) -> Result<Command, String> {
    for (key, values) in settings {
        let verb = command.find_subcommand(daemon);
        let flag = verb.and_then(|verb| {
            verb.get_arguments().find(|flag| flag.get_long() == Some(key.as_str()) && key != "config")
        });
        let Some((id, takes_many)) = flag.map(|flag| (flag.get_id().clone(), flag.get_value_delimiter().is_some()))
        else {
            return Err(format!(
                "`{key}` is not a setting of `sekisho {daemon}`; `sekisho {daemon} --help` lists them"
            ));
        };
        // A flag that excludes this setting goes first, as the same flag would.
        let excluded = command.find_subcommand(daemon).is_some_and(|verb| {
            let flag = verb.get_arguments().find(|flag| *flag.get_id() == id);
            flag.is_some_and(|flag| {
                verb.get_arg_conflicts_with(flag).iter().any(|other| given(other.get_id().as_str()))
            })
        });
        if excluded {
            continue;
        }
        if values.len() != 1 && !takes_many {
            return Err(format!("`{key}` takes one value"));
        }
        command = command.mut_subcommand(daemon, |verb| {
            // What the file gives need not be given again.
            verb.mut_arg(id, |flag| flag.required(false).default_values(values))
        });
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Verb;

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
                    protocol = 'h2c'\nthreads = 2\noutbound = ['127.0.0.1:1=h:2=spiffe://td/a', '127.0.0.1:3=h:4=spiffe://td/b']\n";
        let cli = parse_with(text, &["proxy", "--protocol", "tcp", "--workload-pid", "7"]).unwrap();
        let Verb::Proxy(args) = cli.verb else { panic!("another verb") };
        let args = args.own;
        assert_eq!((args.protocol, args.outbound.len(), args.threads), (Some(sekisho_proxy::Protocol::Tcp), 2, 2));
        assert_eq!(args.trust_domain.as_str(), "td.example");
    }

    #[test]
    fn a_flag_goes_before_a_setting_that_it_excludes() {
        let text = "trust-domain = 'td'\ndata = '/d'\ntrust-bundle = '/b.pem'\n";
        let fingerprint = "ab".repeat(32);
        let Verb::Agent(args) = parse_with(text, &["agent", "--fingerprint", &fingerprint]).unwrap().verb else {
            panic!("another verb")
        };
        assert!(args.own.trust_bundle.is_none() && !args.own.fingerprint.is_empty());
        let Verb::Agent(args) = parse_with(text, &["agent"]).unwrap().verb else { panic!("another verb") };
        assert!(args.own.trust_bundle.is_some());
    }

    #[test]
    fn a_file_that_says_what_nobody_knows_is_refused() {
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
