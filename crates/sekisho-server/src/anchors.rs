//! Authorities that nodes are judged by: a file, and so a flag, for each attestor that asks for one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use sekisho_evidence::node::{ATTESTORS, AnchorFile};

/// The files that were named, by attestor.
#[derive(Debug, Clone, Default)]
pub struct AnchorArgs(BTreeMap<&'static str, PathBuf>);

/// Their certificates (DER).
#[derive(Default)]
pub(crate) struct Anchors(BTreeMap<&'static str, Vec<Vec<u8>>>);

/// Each attestor that asks for a file, with what its flag is.
fn files() -> impl Iterator<Item = (&'static str, &'static AnchorFile)> {
    ATTESTORS.iter().filter_map(|attestor| Some((attestor.class().name, attestor.anchor_file()?)))
}

impl Args for AnchorArgs {
    fn augment_args(command: Command) -> Command {
        let arg = |file: &AnchorFile| {
            let arg = Arg::new(file.flag).long(file.flag).env(file.variable).help(file.help);
            arg.value_parser(value_parser!(PathBuf)).value_name("FILE")
        };
        files().fold(command, |command, (_, file)| command.arg(arg(file)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AnchorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given =
            |(attestor, file): (_, &AnchorFile)| Some((attestor, matches.get_one::<PathBuf>(file.flag)?.clone()));
        Ok(Self(files().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl AnchorArgs {
    /// Reads the files. `failed` says which one cannot be used, and why.
    pub(crate) fn read<E>(&self, failed: impl Fn(&'static str, &Path, String) -> E) -> Result<Anchors, E> {
        let read = |(attestor, file): (_, &'static AnchorFile)| {
            let path = self.0.get(attestor)?;
            let pem = std::fs::read(path).map_err(|e| e.to_string());
            let certificates = pem.map(|pem| sekisho_net::certificates_from_pem(&pem)).and_then(|all| {
                if all.is_empty() { Err("no certificate in it".to_owned()) } else { Ok((attestor, all)) }
            });
            Some(certificates.map_err(|reason| failed(file.flag, path, reason)))
        };
        files().filter_map(read).collect::<Result<_, E>>().map(Anchors)
    }
}

impl Anchors {
    /// Which files weaken safety, by attestor, and what each weakens.
    pub(crate) fn dangers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        files()
            .filter(|(attestor, _)| self.0.contains_key(attestor))
            .filter_map(|(name, file)| Some((name, file.danger?)))
    }

    /// Each attestor that has a file, with its certificates.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &[Vec<u8>])> {
        self.0.iter().map(|(attestor, certificates)| (*attestor, certificates.as_slice()))
    }

    /// Those of one attestor; none if it has no file.
    pub(crate) fn of(&self, attestor: &str) -> &[Vec<u8>] {
        self.0.get(attestor).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attestor_with_authorities_has_a_flag() {
        let command = AnchorArgs::augment_args(Command::new("server"));
        let matches = command.try_get_matches_from(["server", "--x509pop-ca", "/a.pem"]).unwrap();
        let args = AnchorArgs::from_arg_matches(&matches).unwrap();
        assert_eq!(args.0, BTreeMap::from([("x509pop", PathBuf::from("/a.pem"))]));
        let refused = args.read(|flag, path, reason| format!("{flag} {}: {reason}", path.display())).err().unwrap();
        assert!(refused.starts_with("x509pop-ca /a.pem: "), "{refused}");
        assert!(Anchors::default().of("x509pop").is_empty());
    }
}
