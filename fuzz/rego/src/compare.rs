//! A case evaluated by OPA's server and by us.

use sekisho_rego::CompileError;
use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::Value;

use crate::Random;
use crate::case::{Case, LIBRARY_V0, LIBRARY_V1};
use crate::known::{self, Differing};
use crate::opa::{Refusal, Server};
use crate::ours::{Outcome, evaluate};

/// Servers for both versions.
#[derive(Debug)]
pub struct Opa {
    v0: Server,
    pub(crate) v1: Server,
}

/// What comparing a case found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Outcomes of a rule for an input that were compared.
    pub evaluations: u64,
    /// Of those, values.
    pub values: u64,
    /// Of those, errors.
    pub errors: u64,
    /// Rules that both refuse to compile.
    pub refused: u64,
    /// Outcomes that differ, as known.
    pub known: u64,
    /// Outcomes that differ.
    pub differences: Vec<String>,
}

impl Compared {
    /// Adds what another case found.
    pub fn join(&mut self, other: Compared) {
        self.evaluations += other.evaluations;
        self.values += other.values;
        self.errors += other.errors;
        self.refused += other.refused;
        self.known += other.known;
        self.differences.extend(other.differences);
    }
}

impl Opa {
    /// Starts both servers.
    ///
    /// # Errors
    /// Where one does not start.
    pub fn start(program: &str) -> std::io::Result<Opa> {
        let start = |version, library| {
            let mut server = Server::start(program, version)?;
            let refused = server.module("lib.rego", library)?;
            if refused.is_empty() { Ok(server) } else { Err(std::io::Error::other(format!("{refused:?}"))) }
        };
        Ok(Opa { v0: start(Version::V0, LIBRARY_V0)?, v1: start(Version::V1, LIBRARY_V1)? })
    }

    /// Compares the case of a seed.
    ///
    /// # Errors
    /// Where a server does not answer.
    pub fn compare(&mut self, seed: u64) -> std::io::Result<Compared> {
        let mut case = Case::new(seed);
        let server = if case.version == Version::V0 { &mut self.v0 } else { &mut self.v1 };
        let mut found = Compared::default();
        server.remove("t.rego")?;
        for refused in &case.refused {
            let text = case.text(&[case.definitions.as_slice(), refused].concat());
            refusals(&case, &text, seed, &server.module("t.rego", &text)?, &mut found);
        }
        for _ in 0..MOST_PRUNED {
            let text = case.text(&case.definitions);
            let theirs = server.module("t.rego", &text)?;
            if theirs.is_empty() {
                server.data("d", &case.data)?;
                let strict = Random::new(seed ^ 1).one_in(3);
                evaluations(server, &case, seed, strict, &mut found)?;
                break;
            }
            refusals(&case, &text, seed, &theirs, &mut found);
            case.remove(theirs.iter().map(|one| one.row));
        }
        Ok(found)
    }
}

/// How often definitions are removed that only OPA refuses.
const MOST_PRUNED: usize = 8;

/// Compares what both say against a text.
fn refusals(case: &Case, text: &str, seed: u64, theirs: &[Refusal], found: &mut Compared) {
    let ours = case.compile(text).err().map(refusals_of).unwrap_or_default();
    let alike = |one: &Refusal| theirs.iter().any(|other| (&one.code, one.row) == (&other.code, other.row));
    if (ours.is_empty() && theirs.is_empty()) || ours.iter().any(alike) {
        found.refused += u64::from(!ours.is_empty());
    } else if known::refusal(&ours, theirs, text).is_some() {
        found.known += 1;
    } else {
        let lines = lines(text, ours.iter().chain(theirs));
        found.differences.push(format!("seed {seed}: refused differently\nours {ours:?}\ntheirs {theirs:?}\n{lines}"));
    }
}

fn refusals_of(error: CompileError) -> Vec<Refusal> {
    let place = |code: &str, row: u32, column: u32, message: String| Refusal {
        code: code.to_owned(),
        row: u64::from(row),
        column: u64::from(column),
        message,
    };
    match error {
        CompileError::Refused(errors) => errors
            .into_iter()
            .map(|error| place(error.code.as_str(), error.span.line, error.span.column, error.message))
            .collect(),
        CompileError::Lowering(errors) => errors
            .into_iter()
            .map(|error| place("lowering", error.place.line, error.place.column, error.message))
            .collect(),
    }
}

/// The definitions that errors are about, with their lines.
fn lines<'r>(text: &str, errors: impl Iterator<Item = &'r Refusal>) -> String {
    let rows: std::collections::BTreeSet<u64> = errors.map(|one| one.row).collect();
    let (mut line, mut out) = (1, Vec::new());
    for definition in text.split("\n\n") {
        let lines = line..line + definition.lines().count() as u64 + 1;
        if rows.iter().any(|row| lines.contains(row)) {
            out.push(format!("{line}: {definition}"));
        }
        line = lines.end;
    }
    out.join("\n")
}

fn evaluations(server: &mut Server, case: &Case, seed: u64, strict: bool, found: &mut Compared) -> std::io::Result<()> {
    let text = case.text(&case.definitions);
    let Ok(policy) = case.compile(&text) else { return Ok(()) };
    let data = case.all_data();
    for input in &case.inputs {
        let ours = evaluate(&policy, "data.t", &data, input, strict);
        let theirs = server.evaluate("data.t", input, strict)?;
        if let (Outcome::Value(one), Outcome::Value(two)) = (&ours, &theirs)
            && one.to_json() == two.to_json()
        {
            found.evaluations += case.documents.len() as u64;
            found.values += one.as_object().map_or(0, |members| members.len() as u64);
            continue;
        }
        for name in &case.documents {
            let document = format!("data.t.{name}");
            let ours = evaluate(&policy, &document, &data, input, strict);
            let theirs = server.evaluate(&document, input, strict)?;
            found.evaluations += 1;
            if same(&ours, &theirs) {
                found.values += u64::from(matches!(ours, Outcome::Value(_)));
                found.errors += u64::from(matches!(ours, Outcome::Failed(..)));
                continue;
            }
            let own = definitions_of(&text, name);
            let differing = Differing { case, text: &text, policy: &policy, data: &data, document: &document, input };
            if differing.is_known(server, strict, &ours, &theirs)? {
                found.known += 1;
                continue;
            }
            found.differences.push(format!(
                "seed {seed} {document} strict {strict}: ours {}\ntheirs {}\n{own}\ninput {}\ndata {}",
                shown(&ours),
                shown(&theirs),
                input.to_json(),
                case.data.to_json(),
            ));
        }
    }
    Ok(())
}

pub(crate) fn same(ours: &Outcome, theirs: &Outcome) -> bool {
    match (ours, theirs) {
        (Outcome::Value(one), Outcome::Value(two)) => one.to_json() == two.to_json(),
        (Outcome::Failed(one), Outcome::Failed(two)) => one.code == two.code,
        (Outcome::Bounded, _) => true,
        _ => ours == theirs,
    }
}

/// The definitions of a document.
fn definitions_of(text: &str, name: &str) -> String {
    let parts = text.split("\n\n");
    parts.filter(|part| defines(part, name)).collect::<Vec<_>>().join("\n")
}

/// Whether a definition is one of this document.
pub(crate) fn defines(definition: &str, name: &str) -> bool {
    let definition = definition.trim_start_matches("default ");
    definition.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '[', ':']))
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value(value) => Value::to_json(value),
        other => format!("{other:?}"),
    }
}
