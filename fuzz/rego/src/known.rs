//! Differences that stay. Each is shown to be what it is taken for; anything else is a difference.

use sekisho_rego::value::Value;
use sekisho_rego::{Limits, Policy};

use crate::case::Case;
use crate::compare::same;
use crate::opa::{Refusal, Server};
use crate::ours::{Failure, Outcome, evaluate, evaluate_with};

const CONFLICT: &str = "eval_conflict_error";
/// Errors that are none without strict errors.
const OF_BUILTINS: [&str; 2] = ["eval_builtin_error", "eval_type_error"];

/// Why both sides do not say the same of a text; none where that is a difference.
///
/// A text may have several faults, and OPA's checks come in another order than ours: then both refuse it, for different
/// ones. Our checker of types bounds its work, so it takes what is deep or has many alternatives to be anything. And we
/// take apart what a comprehension gives, for which OPA has no order of evaluation. OPA's check of types leaves the
/// bodies of `every` out, and what `some` takes elements of where that is a scalar.
pub(crate) fn refusal(ours: &[Refusal], theirs: &[Refusal], text: &str) -> Option<&'static str> {
    if !ours.is_empty() && !theirs.is_empty() {
        return Some("several faults");
    }
    let all = |code: &str| !theirs.is_empty() && theirs.iter().all(|error| error.code == code);
    let ours_alone = |code: &str| theirs.is_empty() && ours.iter().all(|error| error.code == code);
    let line = |error: &Refusal| text.lines().nth((error.row as usize).saturating_sub(1)).unwrap_or_default();
    let comprehension = |error: &Refusal| {
        let lines: Vec<&str> = text.lines().take(error.row as usize).collect();
        let rule = lines.iter().rev().take_while(|line| !line.is_empty());
        let value = |line: &&str| Some(line.split_once(" = ").or(line.split_once(" := "))?.1.contains(" | "));
        rule.filter_map(value).any(|is_comprehension| is_comprehension)
    };
    let of_scalar = |error: &Refusal| error.message.starts_with("undefined ref: _[") && line(error).contains("some ");
    let in_every = |error: &Refusal| line(error).contains("every ");
    match () {
        () if all("rego_type_error") => Some("types beyond bounds"),
        () if ours_alone("rego_type_error") && ours.iter().all(|error| in_every(error) || of_scalar(error)) => {
            Some("types that only we check")
        }
        () if all("rego_unsafe_var_error") && theirs.iter().any(comprehension) => Some("parts of a comprehension"),
        () => None,
    }
}

/// A rule for an input, of which the outcomes differ.
pub(crate) struct Differing<'a> {
    pub case: &'a Case,
    /// The text of the case.
    pub text: &'a str,
    pub policy: &'a Policy,
    pub data: &'a Value,
    pub document: &'a str,
    pub input: &'a Value,
}

impl Differing<'_> {
    /// Whether the difference is known. An error ends an evaluation, and which errors one meets depends on the order of
    /// conditions and on how much of a document is computed: we take cheap conditions first and compute a document once
    /// for all its uses; OPA computes of a document what a reference asks for.
    pub(crate) fn is_known(
        &self,
        server: &mut Server,
        strict: bool,
        ours: &Outcome,
        theirs: &Outcome,
    ) -> std::io::Result<bool> {
        let of_builtin = |one: &Outcome| matches!(one, Outcome::Failed(error) if OF_BUILTINS.contains(&&*error.code));
        if strict && (of_builtin(ours) || of_builtin(theirs)) {
            // What an error hides shows without strict errors.
            let ours = evaluate(self.policy, self.document, self.data, self.input, false);
            let theirs = server.evaluate(self.document, self.input, false)?;
            return Ok(same(&ours, &theirs) || self.is_known(server, false, &ours, &theirs)?);
        }
        match (ours, theirs) {
            (Outcome::Failed(error), _) if error.code == CONFLICT => self.conflicts_there(server, strict, error),
            (_, Outcome::Failed(error)) if error.code == CONFLICT => Ok(self.conflicts_here(strict, error)),
            _ => Ok(false),
        }
    }

    /// Whether OPA finds the conflict as well when it is asked for the whole document.
    fn conflicts_there(&self, server: &mut Server, strict: bool, error: &Failure) -> std::io::Result<bool> {
        let Some(document) = self.defined_at(error.row) else { return Ok(true) };
        Ok(matches!(server.evaluate(&document, self.input, strict)?, Outcome::Failed(found) if found.code == CONFLICT))
    }

    /// Whether we find the conflict as well when all rules of the document are evaluated.
    fn conflicts_here(&self, strict: bool, error: &Failure) -> bool {
        let Some(document) = self.defined_at(error.row) else { return true };
        let limits = Limits { strict, exhaustive: true, steps: 300_000, ..Limits::default() };
        let found = evaluate_with(self.policy, &document, self.data, self.input, &limits);
        let conflicts = |found: Outcome| matches!(found, Outcome::Failed(found) if found.code == CONFLICT);
        conflicts(found)
            || self
                .up_to(error.row)
                .is_some_and(|policy| conflicts(evaluate_with(&policy, &document, self.data, self.input, &limits)))
    }

    /// The policy with a rule that ends at a line of its body: what is below it may be a condition that we ask first.
    fn up_to(&self, row: u64) -> Option<Policy> {
        let mut line = self.case.first_line();
        let cut = |definition: &String| {
            let count = definition.lines().count() as u64;
            let within = (line..line + count).contains(&row).then(|| row + 1 - line);
            line += count + 1;
            match within {
                Some(kept) => definition.lines().take(kept as usize).chain(["}"]).collect::<Vec<_>>().join("\n"),
                None => definition.clone(),
            }
        };
        let definitions: Vec<String> = self.case.definitions.iter().map(cut).collect();
        self.case.compile(&self.case.text(&definitions)).ok()
    }

    /// The document that a line of the text defines; none for a function, which cannot be asked for alone.
    fn defined_at(&self, row: u64) -> Option<String> {
        let mut line = self.case.first_line();
        let definition = self.case.definitions.iter().find(|definition| {
            let lines = line..line + definition.lines().count() as u64;
            line = lines.end + 1;
            lines.contains(&row)
        })?;
        debug_assert!(self.text.contains(definition.as_str()), "a definition of another text");
        let own = |name: &&String| crate::compare::defines(definition, name);
        self.case.documents.iter().find(own).map(|name| format!("data.t.{name}"))
    }
}
