//! Bodies made shorter without another meaning, and without another order of what can fail.

use super::run::Evaluator;
use super::term::{Collection, Comprehension, Function, Literal, Root, Term, Uses, Var};
use crate::value::Value;

impl Evaluator<'_> {
    /// Whether a literal can fail with an error.
    pub(super) fn errs(&self, literal: &Literal) -> bool {
        let own = match literal {
            Literal::Call(Function::Builtin(name), ..) => self.facts.builtin_errs(name),
            Literal::Call(Function::Rule(path), ..) => self.support.errs(path),
            Literal::Not(inner) => self.errs(inner),
            Literal::Every { body, .. } => body.iter().any(|literal| self.errs(literal)),
            Literal::With(..) => true,
            _ => false,
        };
        own || literal.terms().into_iter().any(|term| self.term_errs(term))
    }

    fn term_errs(&self, term: &Term) -> bool {
        match term {
            Term::Const(_) | Term::Var(_) => false,
            Term::Ref(root, keys) => {
                let path = || keys.iter().map_while(|key| key.as_const().cloned()).collect::<Vec<Value>>();
                *root == Root::Data && self.support.errs(&path()) || keys.iter().any(|key| self.term_errs(key))
            }
            Term::Array(items) | Term::Set(items) => items.iter().any(|item| self.term_errs(item)),
            Term::Object(members) => members.iter().any(|(key, value)| self.term_errs(key) || self.term_errs(value)),
            Term::Comprehension(inner) => {
                inner.kind == Collection::Object
                    || inner.body.iter().any(|literal| self.errs(literal))
                    || inner.key.iter().chain([&inner.value]).any(|term| self.term_errs(term))
            }
        }
    }

    /// A body without variables that are known, and without conditions that others contain.
    pub(super) fn tidy(&self, mut body: Vec<Literal>, heads: &[Term]) -> Vec<Literal> {
        while let Some((at, var, value)) = self.known_variable(&body, heads) {
            body.remove(at);
            body.iter_mut().for_each(|literal| literal.replace(&|other| (other == var).then(|| value.clone())));
        }
        let mut at = 0;
        while at < body.len() {
            if self.is_contained(&body, at) {
                body.remove(at);
            } else {
                at += 1;
            }
        }
        body
    }

    /// A literal that gives a variable, bound before it, a constant value.
    fn known_variable(&self, body: &[Literal], heads: &[Term]) -> Option<(usize, Var, Term)> {
        body.iter().enumerate().find_map(|(at, literal)| {
            let (var, value) = match literal {
                Literal::Equal(Term::Var(var), value @ Term::Const(_))
                | Literal::Equal(value @ Term::Const(_), Term::Var(var)) => (*var, value.clone()),
                _ => return None,
            };
            let binds = |literal: &Literal| {
                matches!(
                    literal,
                    Literal::Equal(Term::Var(bound), Term::Ref(..)) | Literal::Call(_, _, Some(Term::Var(bound)))
                        if *bound == var
                )
            };
            let bound = body.get(..at)?.iter().position(binds)?;
            let between = body.get(bound + 1..at)?;
            let mut starts = false;
            for literal in body {
                each_start(literal, &mut |start| starts |= start == var);
            }
            let mut uses = Uses::new();
            heads.iter().for_each(|head| head.uses(&mut uses));
            let free = !starts && !uses.contains_key(&var) && !between.iter().any(|literal| self.errs(literal));
            free.then_some((at, var, value))
        })
    }

    /// Whether another literal holds only where the one at `at` does, and is asked at the same time.
    fn is_contained(&self, body: &[Literal], at: usize) -> bool {
        let Some(literal) = body.get(at) else { return false };
        let Literal::Defined(term) = literal else { return false };
        let (before, after) = (body.get(..at).unwrap_or_default(), body.get(at + 1..).unwrap_or_default());
        if is_established(before, term) {
            return true;
        }
        let found = after.iter().position(|literal| reads(literal, term));
        // What can fail itself is not asked later than it was.
        let stays = |found: usize| found == 0 || !self.errs(literal);
        found.is_some_and(|found| stays(found) && !after.iter().take(found).any(|literal| self.errs(literal)))
    }

    /// Puts what a compiler would ask too early behind the literals that can fail: in the body of a rule, conditions
    /// that cannot fail are asked first.
    pub(super) fn ordered(&mut self, body: Vec<Literal>) -> Vec<Literal> {
        let Some(first) = body.iter().position(|literal| self.errs(literal)) else { return body };
        let mut ordered: Vec<Literal> = Vec::with_capacity(body.len());
        let start = body.get(..first).unwrap_or_default().to_vec();
        for (at, literal) in body.into_iter().enumerate() {
            if at < first || !asks_early(&literal, &start) {
                ordered.push(literal);
                continue;
            }
            let bound = self.binds(&literal, &ordered);
            if bound.is_empty() {
                // `every` is not asked early.
                let value = self.fresh();
                let domain = Term::Const(vec![Value::Bool(true)].into());
                ordered.push(Literal::Every { key: None, value, domain, body: vec![literal] });
                continue;
            }
            let renamed: Vec<(Var, Var)> = bound.iter().map(|var| (*var, self.fresh())).collect();
            let mut inner = literal;
            inner.replace(&|var| renamed.iter().find(|(old, _)| *old == var).map(|(_, new)| Term::Var(*new)));
            let value = Term::Array(renamed.iter().map(|(_, new)| Term::Var(*new)).collect());
            let comprehension = Comprehension { kind: Collection::Array, key: None, value, body: vec![inner] };
            let (rows, row) = (self.fresh(), self.fresh());
            ordered.push(Literal::Equal(Term::Var(rows), Term::Comprehension(Box::new(comprehension))));
            let item = Term::Ref(Root::Var(rows), vec![Term::Var(row)]);
            ordered.push(Literal::Equal(Term::Array(bound.into_iter().map(Term::Var).collect()), item));
        }
        ordered
    }

    /// The variables that a literal is the first to name.
    fn binds(&self, literal: &Literal, before: &[Literal]) -> Vec<Var> {
        let (mut own, mut known) = (Uses::new(), Uses::new());
        literal.terms().into_iter().for_each(|term| term.uses(&mut own));
        before.iter().for_each(|literal| literal.uses(&mut known));
        self.parameters.iter().for_each(|var| *known.entry(*var).or_default() += 1);
        own.into_keys().filter(|var| !known.contains_key(var)).collect()
    }
}

/// Whether the literal is asked before those that can fail, if a compiler orders the body.
fn asks_early(literal: &Literal, start: &[Literal]) -> bool {
    let mut early = false;
    for term in literal.terms() {
        term.each_ref(&mut |reference| {
            early |= !matches!(reference, Term::Ref(Root::Var(_), _)) && !is_established(start, reference);
        });
    }
    let tests = matches!(
        literal,
        Literal::Defined(_)
            | Literal::Truthy(_)
            | Literal::Equal(..)
            | Literal::Compare(..)
            | Literal::Member { result: None, .. }
    );
    let comprehends = literal.terms().into_iter().any(|term| matches!(term, Term::Comprehension(_)));
    tests && !comprehends || early && !matches!(literal, Literal::Every { .. } | Literal::With(..))
}

/// Whether one of the literals holds only where the term is defined.
pub(super) fn is_established(body: &[Literal], term: &Term) -> bool {
    body.iter().any(|literal| reads(literal, term))
}

/// Whether the literal itself reads a reference, or what is below it.
fn reads(literal: &Literal, term: &Term) -> bool {
    let Term::Ref(root, path) = term else { return false };
    if matches!(literal, Literal::Not(_) | Literal::With(..)) {
        return false;
    }
    let mut found = false;
    for own in literal.terms() {
        own.each_ref(&mut |reference| {
            if let Term::Ref(other, keys) = reference {
                found |= other == root && keys.starts_with(path);
            }
        });
    }
    found
}

/// Calls `visit` for each variable that a reference starts at.
fn each_start(literal: &Literal, visit: &mut dyn FnMut(Var)) {
    for term in literal.terms() {
        start_of(term, visit);
    }
    literal.body().iter().for_each(|inner| each_start(inner, visit));
}

fn start_of(term: &Term, visit: &mut dyn FnMut(Var)) {
    match term {
        Term::Const(_) | Term::Var(_) => {}
        Term::Ref(root, keys) => {
            if let Root::Var(var) = root {
                visit(*var);
            }
            keys.iter().for_each(|key| start_of(key, visit));
        }
        Term::Array(items) | Term::Set(items) => items.iter().for_each(|item| start_of(item, visit)),
        Term::Object(members) => members.iter().for_each(|(key, value)| {
            start_of(key, visit);
            start_of(value, visit);
        }),
        Term::Comprehension(inner) => {
            inner.key.iter().chain([&inner.value]).for_each(|term| start_of(term, visit));
            inner.body.iter().for_each(|literal| each_start(literal, visit));
        }
    }
}
