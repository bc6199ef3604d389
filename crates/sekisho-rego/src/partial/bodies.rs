//! Bodies within bodies: negations, `every`, comprehensions, `with`.

use super::rules::reads_later;
use super::run::{DEEPEST, Evaluator, Next, Partial};
use super::state::State;
use super::term::{Collection, Comprehension, Function, Literal, Replacement, Root, Target, Term, Uses, Var};
use crate::program::{self, Block, Callee, Collect, CollectKind, Every, Mock, Pattern, Slot, Step, WithMod};
use crate::value::Value;

/// The most members of a known collection for which the body of `every` is written out.
const MOST_MEMBERS: usize = 64;

impl<'a> Evaluator<'a> {
    /// The ways through a body of its own, in which the slots around it are known.
    fn within(&mut self, state: &State<'a>, steps: &'a [Step], branching: bool) -> Partial<Vec<State<'a>>> {
        let start = State::new(steps, state.slots(), Vec::new());
        self.deeper(state, start, branching)
    }

    fn deeper(&mut self, state: &State<'a>, start: State<'a>, branching: bool) -> Partial<Vec<State<'a>>> {
        let before = self.depth;
        self.depth += state.frames.len();
        let branching = branching && self.may_look();
        if self.depth > 4 * DEEPEST {
            return Err(self.known.limit("bodies are nested too deep"));
        }
        let found = self.explore(start, branching);
        self.depth = before;
        found
    }

    /// The one way through a body that is kept whole.
    fn whole(&mut self, state: &State<'a>, start: State<'a>) -> Partial<State<'a>> {
        let nothing = start.clone();
        let found = self.deeper(state, start, false)?.pop();
        Ok(found.unwrap_or_else(|| State { literals: vec![Literal::Never], never: true, ..nothing }))
    }

    pub(super) fn not(&mut self, state: &mut State<'a>, block: &'a Block) -> Partial<Next<'a>> {
        let mark = self.mark();
        for body in self.within(state, &block.steps, true)? {
            let body = self.tidy(body.literals, &[]);
            if body.is_empty() {
                return Ok(Next::Fail);
            }
            let negated = match body.as_slice() {
                [literal] if can_be_negated(literal, &state.literals, mark) => literal.clone(),
                _ => self.helper(vec![body], mark),
            };
            self.push(state, Literal::Not(Box::new(negated)));
        }
        Ok(Next::Go)
    }

    /// Whether one of the bodies holds: known, or as a literal.
    fn one_of(&mut self, state: &mut State<'a>, bodies: Vec<State<'a>>, mark: Var) -> Next<'a> {
        let mut tidied = Vec::with_capacity(bodies.len());
        for body in bodies {
            let body = self.tidy(body.literals, &[]);
            if body.is_empty() && tidied.is_empty() {
                return Next::Go;
            }
            tidied.push(body);
        }
        if tidied.is_empty() {
            return Next::Fail;
        }
        let literal = self.helper(tidied, mark);
        self.push(state, literal);
        Next::Go
    }

    pub(super) fn both(&mut self, state: &mut State<'a>, left: &'a Block, right: &'a Block) -> Partial<Next<'a>> {
        for block in [left, right] {
            let mark = self.mark();
            let bodies = self.within(state, &block.steps, true)?;
            if let Next::Fail = self.one_of(state, bodies, mark) {
                return Ok(Next::Fail);
            }
        }
        Ok(Next::Go)
    }

    pub(super) fn either(&mut self, state: &mut State<'a>, left: &'a Block, right: &'a Block) -> Partial<Next<'a>> {
        let mark = self.mark();
        let mut bodies = self.within(state, &left.steps, true)?;
        bodies.extend(self.within(state, &right.steps, true)?);
        Ok(self.one_of(state, bodies, mark))
    }

    pub(super) fn every(&mut self, state: &mut State<'a>, every: &'a Every) -> Partial<Next<'a>> {
        let domain = state.term(&every.domain);
        let members: Option<Vec<(Term, Term)>> = match &domain {
            Term::Const(Value::Array(items)) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| (Term::Const(at.into()), Term::Const(item.clone())))
                    .collect(),
            ),
            Term::Const(Value::Set(items)) => {
                Some(items.iter().map(|item| (Term::Const(item.clone()), Term::Const(item.clone()))).collect())
            }
            Term::Const(Value::Object(members)) => {
                Some(members.iter().map(|(key, item)| (Term::Const(key.clone()), Term::Const(item.clone()))).collect())
            }
            Term::Array(items) => {
                Some(items.iter().enumerate().map(|(at, item)| (Term::Const(at.into()), item.clone())).collect())
            }
            Term::Const(_) => return Ok(Next::Fail),
            _ => None,
        };
        let short = members.filter(|members| members.len() <= MOST_MEMBERS);
        if let Some(members) = short.filter(|_| self.may_look() && !self.facts.errs(&every.block.steps)) {
            return self.each_holds(state, every, members);
        }
        let mut start = State::new(&every.block.steps, state.slots(), Vec::new());
        let mut variable = |evaluator: &mut Evaluator<'a>, pattern: &'a Pattern| {
            let var = evaluator.fresh();
            evaluator.matches(&mut start, pattern, Term::Var(var)).then_some(var)
        };
        let key = match &every.key {
            Pattern::Any => None,
            pattern => variable(self, pattern),
        };
        let Some(value) = variable(self, &every.value) else { return Ok(Next::Fail) };
        let body = self.whole(state, start)?;
        let body = self.tidy(body.literals, &[]);
        self.push(state, Literal::Every { key, value, domain, body });
        Ok(Next::Go)
    }

    /// The body of `every` for each member.
    fn each_holds(&mut self, state: &mut State<'a>, every: &'a Every, members: Vec<(Term, Term)>) -> Partial<Next<'a>> {
        for (key, value) in members {
            let mark = self.mark();
            let mut start = State::new(&every.block.steps, state.slots(), Vec::new());
            if !(self.matches(&mut start, &every.key, key) && self.matches(&mut start, &every.value, value)) {
                continue;
            }
            let mut bodies = self.deeper(state, start, true)?;
            if let [body] = bodies.as_mut_slice()
                && !body.multiple
            {
                let literals = std::mem::take(&mut body.literals);
                literals.into_iter().for_each(|literal| self.push(state, literal));
                continue;
            }
            if let Next::Fail = self.one_of(state, bodies, mark) {
                return Ok(Next::Fail);
            }
        }
        Ok(Next::Go)
    }

    pub(super) fn collect(&mut self, state: &mut State<'a>, collect: &'a Collect) -> Partial<()> {
        let start = State::new(&collect.block.steps, state.slots(), Vec::new());
        let body = self.whole(state, start)?;
        let null = Term::Const(Value::Null);
        let value = if body.never { null.clone() } else { body.term(&collect.value) };
        let (kind, key) = match &collect.kind {
            CollectKind::Array => (Collection::Array, None),
            CollectKind::Set => (Collection::Set, None),
            CollectKind::Object { key } => (Collection::Object, Some(if body.never { null } else { body.term(key) })),
        };
        let heads: Vec<Term> = key.iter().chain([&value]).cloned().collect();
        let body = self.tidy(body.literals, &heads);
        let comprehension = Term::Comprehension(Box::new(Comprehension { kind, key, value, body }));
        let var = self.bind(state, comprehension);
        state.set(collect.out, var);
        Ok(())
    }

    pub(super) fn with(
        &mut self,
        state: &mut State<'a>,
        mods: &'a [WithMod],
        block: &'a Block,
        outs: &'a [Slot],
    ) -> Partial<()> {
        let mut modifiers = Vec::with_capacity(mods.len());
        for modifier in mods {
            let target = match &modifier.target {
                program::Target::Input(path) => Target::Input(path.clone()),
                program::Target::Data(path) => Target::Data(path.clone()),
                program::Target::Builtin(builtin) => Target::Function(Function::Builtin(builtin.name())),
                program::Target::Function(set) => Target::Function(self.callee(Callee::Function(*set))),
            };
            let by = match &modifier.value {
                Mock::Value(operand) => Replacement::Term(state.term(operand)),
                Mock::Callee(callee) => Replacement::Function(self.callee(*callee)),
            };
            modifiers.push((target, by));
        }
        // A reference to the input means another one under the modifiers.
        let mut mentioned = Vec::new();
        for step in &block.steps {
            super::steps::slots(step, &mut |slot| mentioned.push(slot));
        }
        mentioned.sort_unstable();
        mentioned.dedup();
        for slot in mentioned {
            if let Some(term) = state.slot(slot).filter(|term| !matches!(term, Term::Const(_) | Term::Var(_))).cloned()
            {
                let var = self.bind(state, term);
                state.set(slot, var);
            }
        }
        let start = State::new(&block.steps, state.slots(), outs.to_vec());
        let before = std::mem::replace(&mut self.replaced, true);
        let body = self.whole(state, start);
        self.replaced = before;
        let mut body = body?;
        let mut heads = Vec::new();
        let read: Vec<Slot> = outs.iter().copied().filter(|out| reads_later(state, *out, 0)).collect();
        for out in read {
            let term = body.slot(out).cloned().unwrap_or(Term::Const(Value::Null));
            let term = match term {
                Term::Const(_) | Term::Var(_) => term,
                other => self.bind(&mut body, other),
            };
            heads.push(term.clone());
            state.set(out, term);
        }
        state.multiple |= body.multiple;
        let literals = self.tidy(body.literals, &heads);
        if !literals.is_empty() {
            self.push(state, Literal::With(literals, modifiers));
        }
        Ok(())
    }

    fn callee(&mut self, callee: Callee) -> Function {
        match callee {
            Callee::Builtin(builtin) => Function::Builtin(builtin.name()),
            Callee::Function(set) => {
                let path = self.program.sets.get(set as usize).map(|set| set.path.clone());
                let path = path.unwrap_or_else(|| Vec::new().into());
                self.original(&path);
                Function::Rule(path)
            }
        }
    }
}

/// Whether `not` before the literal negates all of it, under both meanings that `not` has: what is undefined within a
/// call or a comparison makes the negation undefined or true.
fn can_be_negated(literal: &Literal, before: &[Literal], mark: Var) -> bool {
    let mut uses = Uses::new();
    literal.uses(&mut uses);
    if uses.keys().any(|var| *var >= mark) {
        return false;
    }
    let defined = |term: &Term| {
        let mut all = true;
        term.each_ref(&mut |reference| all &= super::tidy::is_established(before, reference));
        all && !matches!(term, Term::Comprehension(_))
    };
    match literal {
        Literal::Truthy(term) => term.is_simple(),
        Literal::Equal(left, right) => [left, right].into_iter().all(|term| term.is_simple() || defined(term)),
        Literal::Compare(..) | Literal::Member { result: None, .. } => literal.terms().into_iter().all(defined),
        Literal::Call(_, arguments, None) => arguments.iter().all(defined),
        _ => false,
    }
}

/// A reference to the whole of a document.
pub(super) fn reference(path: &[Value]) -> Term {
    Term::Ref(Root::Data, path.iter().cloned().map(Term::Const).collect())
}
