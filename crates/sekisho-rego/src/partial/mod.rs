//! Partial evaluation: a query with a part of the input unknown, to the conditions that remain.
//!
//! The steps of the program are run with terms in place of values. A step that reads only what is known is run by the
//! machine itself, so it has one meaning. What reads an unknown becomes a literal. Rules are put in place
//! of what reads them where no value, conflict or error can differ; else a support rule stands for them. What can fail
//! with an error stays, and stays behind what would have been asked before it (L3).
//!
//! With the unknowns filled in, a residual decides as the modules do. Bounds on steps, depth and size are not part of
//! that: a residual takes other steps.

mod bodies;
mod facts;
mod json;
mod options;
mod outlook;
mod print;
mod refs;
mod residual;
mod rules;
mod run;
mod state;
mod steps;
mod support;
mod supporting;
mod table;
mod term;
#[cfg(test)]
mod tests;
mod tidy;
mod unify;
mod unknown;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use options::Options;
pub use outlook::{Outlook, Undecided};
pub use residual::{Residual, Resumed};
pub use support::{SupportHead, SupportRule};
pub use table::{Column, Constraint, Prevented, Row};
pub use term::{Collection, Comprehension, Function, Literal, Order, Replacement, Root, Target, Term, Var};
pub use unknown::Unknown;

use crate::api::Query;
use crate::eval::EvalError;
use crate::program::Program;
use crate::value::Value;
use run::Evaluator;
use state::State;
use support::Support;
use unknown::Unknowns;

impl Query {
    /// What remains of the query where the unknowns of `options` are not known. Parts of the input and of data that are
    /// not among the unknowns are those given here; what is missing there is undefined.
    ///
    /// # Errors
    /// Where a bound is reached. Any other error depends on what is asked before it, so it remains in the residual.
    pub fn partial(&self, data: &Value, input: Option<&Value>, options: &Options) -> Result<Residual, EvalError> {
        let (program, query) = self.parts();
        let unknowns = Unknowns::new(&options.unknowns, options.now.is_none());
        let namespace = namespace(program, data);
        let support = Support::new(namespace.clone());
        let mut evaluator = Evaluator::new(program, (data, input), &unknowns, options, support);
        let ends = query.variables.iter().map(|(_, slot, _)| *slot).collect();
        let start = State::new(&query.block.steps, vec![None; query.slots as usize], ends);
        let states = evaluator.explore(start, true)?;
        let mut names: BTreeMap<Var, Arc<str>> = BTreeMap::new();
        let mut queries = Vec::with_capacity(states.len());
        for mut state in states {
            let never = state.never;
            for (name, slot, _) in query.variables.iter().filter(|(name, ..)| &**name != "_" && !never) {
                match state.slot(*slot).cloned() {
                    Some(Term::Var(var)) if !names.contains_key(&var) => {
                        names.insert(var, name.clone());
                    }
                    Some(term) => {
                        let var = evaluator.fresh();
                        names.insert(var, name.clone());
                        evaluator.push(&mut state, Literal::Equal(Term::Var(var), term));
                    }
                    None => {}
                }
            }
            let heads: Vec<Term> = names.keys().map(|var| Term::Var(*var)).collect();
            queries.push(evaluator.tidy(state.literals, &heads));
        }
        evaluator.supports()?;
        let certain = queries.iter().any(Vec::is_empty);
        if certain && !queries.iter().flatten().any(|literal| evaluator.errs(literal)) {
            queries = vec![Vec::new()];
        }
        let prefix = prefix(program, query.variables.iter().map(|(name, ..)| &**name));
        let Support { rules, modules, .. } = evaluator.support;
        Ok(Residual::new(queries, names, rules, modules, prefix))
    }
}

/// A name below data that nothing has.
fn namespace(program: &Program, data: &Value) -> Arc<str> {
    let root = program.nodes.first();
    let taken = |name: &str| {
        let key = Value::from(name);
        root.is_some_and(|root| root.children.contains_key(&key)) || data.get(&key).is_some()
    };
    let numbered = (1_u32..).map(|number| format!("partial{number}"));
    std::iter::once("partial".to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default().into()
}

/// What names of new variables begin with: no rule and no variable of the query has such a name.
fn prefix<'q>(program: &'q Program, variables: impl Iterator<Item = &'q str> + Clone) -> String {
    let numbered = |name: &str, prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut prefix = String::from("v");
    let taken = |prefix: &str| {
        let rules = program.sets.iter().flat_map(|set| set.path.iter()).filter_map(Value::as_str);
        rules.chain(variables.clone()).any(|name| numbered(name, prefix))
    };
    while taken(&prefix) {
        prefix.push('_');
    }
    prefix
}
