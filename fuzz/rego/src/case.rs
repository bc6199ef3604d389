//! A policy with its data and inputs.

use sekisho_rego::syntax::ast::Version;
use sekisho_rego::value::Value;
use sekisho_rego::{CompileError, Compiler, Policy};

use crate::documents::document;
use crate::random::Random;
use crate::rules::Rule;
use crate::writer::Writer;

/// Rules of a policy, at most.
const MOST_RULES: usize = 14;
/// Inputs of a policy.
const INPUTS: usize = 8;

/// A policy that our compiler accepts, rules that it refuses, and what the policy is evaluated on.
#[derive(Debug)]
pub struct Case {
    /// The version that all modules are written in.
    pub version: Version,
    /// Whether words of version 1 are imported in version 0.
    pub keywords: bool,
    /// The names of the documents of package `t`.
    pub documents: Vec<String>,
    /// What `data.d` is.
    pub data: Value,
    /// One evaluation each.
    pub inputs: Vec<Value>,
    /// Definitions of the rules that compile together.
    pub definitions: Vec<String>,
    /// Definitions that do not compile with those.
    pub refused: Vec<Vec<String>>,
}

/// A package that the policies use.
pub const LIBRARY_V1: &str = "package lib

one := 1

f(x) := [x]

twice := [input.n, input.n]

list := [x | some x in input.xs]

pairs[k] := v if some k, v in input.o
";
/// The same in version 0.
pub const LIBRARY_V0: &str = "package lib

one = 1

f(x) = [x]

twice = [input.n, input.n]

list = [x | x := input.xs[_]]

pairs[k] = v { v := input.o[k] }
";

impl Case {
    /// The case of a seed.
    ///
    /// # Panics
    /// Where a document that the generator writes is not JSON.
    #[must_use]
    pub fn new(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let version = if random.one_in(3) { Version::V0 } else { Version::V1 };
        let keywords = version == Version::V1 || random.one_in(2);
        let read = |text: String| Value::from_json(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let data = read(document(&mut random));
        let inputs = (0..INPUTS).map(|_| read(document(&mut random))).collect();
        let mut case = Case {
            version,
            keywords,
            documents: Vec::new(),
            data,
            inputs,
            definitions: Vec::new(),
            refused: Vec::new(),
        };
        let mut known = Vec::new();
        let mut next = 0;
        for number in 0..4 + random.below(MOST_RULES - 3) {
            let mut writer =
                Writer { random: &mut random, version, keywords, known: &known, variables: Vec::new(), next };
            let Rule { definitions, known: own } = writer.whole_rule(number);
            next = writer.next;
            let all = [case.definitions.clone(), definitions.clone()].concat();
            if case.compile(&case.text(&all)).is_ok() {
                case.definitions = all;
                if !matches!(own.form, crate::writer::Form::Function(_)) {
                    case.documents.push(own.name.clone());
                }
                known.push(own);
            } else {
                case.refused.push(definitions);
            }
        }
        case
    }

    /// The text of package `t` with these definitions.
    #[must_use]
    pub fn text(&self, definitions: &[String]) -> String {
        let imports = match (self.version, self.keywords) {
            (Version::V0, true) => "import future.keywords.in\nimport future.keywords.every\n",
            _ => "",
        };
        format!("package t\n\n{imports}\n{}\n", definitions.join("\n\n"))
    }

    /// The line of the text at which the first definition begins.
    pub(crate) fn first_line(&self) -> u64 {
        self.text(&[]).matches('\n').count() as u64
    }

    /// Removes the definitions at lines of the text, and those that do not compile without them.
    pub fn remove(&mut self, rows: impl IntoIterator<Item = u64>) {
        let mut rows: Vec<u64> = rows.into_iter().collect();
        while !rows.is_empty() {
            let mut line = self.first_line();
            self.definitions.retain(|definition| {
                let lines = line..line + definition.lines().count() as u64;
                line = lines.end + 1;
                !rows.iter().any(|row| lines.contains(row))
            });
            rows = match self.compile(&self.text(&self.definitions)) {
                Err(CompileError::Refused(errors)) => errors.iter().map(|error| u64::from(error.span.line)).collect(),
                _ => Vec::new(),
            };
        }
    }

    /// The text of package `lib`.
    #[must_use]
    pub fn library(&self) -> &'static str {
        if self.version == Version::V0 { LIBRARY_V0 } else { LIBRARY_V1 }
    }

    /// Compiles a text of package `t` beside package `lib`.
    ///
    /// # Errors
    /// What our compiler refuses.
    pub fn compile(&self, text: &str) -> Result<Policy, CompileError> {
        Compiler::new().version(self.version).module("lib.rego", self.library())?.module("t.rego", text)?.compile()
    }

    /// All data.
    #[must_use]
    pub fn all_data(&self) -> Value {
        Value::Object([(Value::from("d"), self.data.clone())].into_iter().collect())
    }
}
