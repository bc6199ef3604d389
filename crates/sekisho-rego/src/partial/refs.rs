//! References of which a part is unknown.

use super::run::{Evaluator, Next, Partial, go};
use super::state::State;
use super::term::{Literal, Root, Term};
use crate::program::{Key, NodeId, Pattern, Slot};
use crate::value::{Number, Value};

/// The most members of a known collection that are tried one by one for an unknown key.
const MOST_MEMBERS: usize = 256;

/// How a reference goes on by one key.
enum Below {
    At(Term),
    Nothing,
    /// Each key with the term at it.
    Each(Vec<(Value, Term)>),
    /// Only where the term is a variable.
    Unsplit,
}

impl<'a> Evaluator<'a> {
    pub(super) fn get(
        &mut self,
        state: &mut State<'a>,
        start: Term,
        keys: &[Term],
        out: Slot,
        branching: bool,
    ) -> Partial<Next<'a>> {
        let mut term = start;
        for (at, key) in keys.iter().enumerate() {
            let splits = branching && self.may_split(state);
            term = match self.below(&term, key, splits) {
                Below::At(term) => term,
                Below::Nothing => return Ok(Next::Fail),
                Below::Unsplit => match (self.bind(state, term), key) {
                    (Term::Var(var), key) => Term::Ref(Root::Var(var), vec![key.clone()]),
                    (other, _) => other,
                },
                Below::Each(members) => {
                    let rest = keys.get(at + 1..).unwrap_or_default();
                    return self.for_each(state, members, key, rest, out);
                }
            };
        }
        if let Term::Ref(..) = term {
            match self.known_at(&term) {
                Some(Some(value)) => term = Term::Const(value),
                Some(None) => return Ok(Next::Fail),
                None => self.push(state, Literal::Defined(term.clone())),
            }
        }
        state.set(out, term);
        Ok(Next::Go)
    }

    /// One state for each member: the key equals that of the member.
    fn for_each(
        &mut self,
        state: &State<'a>,
        members: Vec<(Value, Term)>,
        key: &Term,
        rest: &[Term],
        out: Slot,
    ) -> Partial<Next<'a>> {
        let mut states = Vec::with_capacity(members.len());
        for (name, item) in members {
            self.known.tick(1)?;
            let mut state = state.clone();
            if !self.unify(&mut state, key.clone(), Term::Const(name)) {
                continue;
            }
            match self.get(&mut state, item, rest, out, false)? {
                Next::Go => states.push(state),
                Next::Fail if state.erring => {
                    state.literals.push(Literal::Never);
                    state.never = true;
                    state.frames.truncate(1);
                    if let Some(frame) = state.frames.first_mut() {
                        frame.at = frame.steps.len();
                    }
                    states.push(state);
                }
                Next::Fail | Next::Split(_) => {}
            }
        }
        Ok(Next::Split(states))
    }

    fn below(&self, term: &Term, key: &Term, splits: bool) -> Below {
        match (term, key) {
            (Term::Const(value), Term::Const(key)) => {
                value.get(key).map_or(Below::Nothing, |value| Below::At(Term::Const(value.clone())))
            }
            (Term::Const(value), _) => match members(value).filter(|_| splits) {
                Some(members) => Below::Each(members),
                None => Below::Unsplit,
            },
            (Term::Array(items), Term::Const(key)) => match key.as_i64().and_then(|at| usize::try_from(at).ok()) {
                Some(at) => items.get(at).map_or(Below::Nothing, |item| Below::At(item.clone())),
                None => Below::Nothing,
            },
            (Term::Array(items), _) if splits => {
                Below::Each(items.iter().enumerate().map(|(at, item)| (Value::from(at), item.clone())).collect())
            }
            (Term::Object(members), Term::Const(key)) if members.iter().all(|(key, _)| key.as_const().is_some()) => {
                // The last member of a key counts.
                let found = members.iter().rev().find(|(name, _)| name.as_const() == Some(key));
                found.map_or(Below::Nothing, |(_, item)| Below::At(item.clone()))
            }
            (Term::Ref(root, path), key) => {
                if key.as_const().is_none()
                    && splits
                    && let Some(found) = self.known_at(term)
                {
                    return match found {
                        None => Below::Nothing,
                        Some(value) => match members(&value).filter(|_| self.is_exact(*root, &value)) {
                            Some(members) => Below::Each(members),
                            None => Below::At(longer(*root, path, key)),
                        },
                    };
                }
                Below::At(longer(*root, path, key))
            }
            (Term::Var(var), key) => Below::At(Term::Ref(Root::Var(*var), vec![key.clone()])),
            _ => Below::Unsplit,
        }
    }

    /// Whether keys of a value that is read from here mean what they are: a store takes numbers for texts of members.
    fn is_exact(&self, root: Root, value: &Value) -> bool {
        root != Root::Data
            || value.as_object().is_some_and(|object| {
                object.keys().all(|key| key.as_str().is_some_and(|text| Number::parse(text).is_none()))
            })
    }

    /// The value at a reference, where it is known whether there is one.
    fn known_at(&self, term: &Term) -> Option<Option<Value>> {
        let Term::Ref(root, path) = term else { return None };
        let start = match root {
            Root::Input => self.input,
            Root::Data => Some(self.data),
            Root::Var(_) => return None,
        };
        let path = path.iter().map(|key| key.as_const().cloned()).collect::<Option<Vec<Value>>>()?;
        if self.replaced || self.unknowns.touch(*root, &path) {
            return None;
        }
        if *root == Root::Data && path.iter().any(|key| key.as_str().is_none_or(|text| Number::parse(text).is_some())) {
            return None;
        }
        let Some(start) = start else { return Some(None) };
        Some(path.iter().try_fold(start, |value, key| value.get(key)).cloned())
    }

    pub(super) fn each(
        &mut self,
        state: &mut State<'a>,
        collection: Term,
        (key, value): (&'a Pattern, &'a Pattern),
        branching: bool,
    ) -> Partial<Next<'a>> {
        let splits = branching && self.may_split(state);
        let members = match &collection {
            Term::Const(constant) => members(constant),
            Term::Array(items) => {
                Some(items.iter().enumerate().map(|(at, item)| (Value::from(at), item.clone())).collect())
            }
            _ => None,
        };
        if let (Some(members), true) = (members, splits) {
            let mut states = Vec::with_capacity(members.len());
            for (name, item) in members {
                self.known.tick(1)?;
                let mut state = state.clone();
                if self.matches(&mut state, key, Term::Const(name)) && self.matches(&mut state, value, item) {
                    states.push(state);
                }
            }
            return Ok(Next::Split(states));
        }
        let key = self.pattern_term(state, key);
        let reference = match collection {
            Term::Ref(root, path) => longer(root, &path, &key),
            other => match self.bind(state, other) {
                Term::Var(var) => Term::Ref(Root::Var(var), vec![key.clone()]),
                other => other,
            },
        };
        let value = self.pattern_term(state, value);
        self.push(state, Literal::Equal(value, reference));
        state.multiple = true;
        Ok(Next::Go)
    }

    /// The whole document at a node, as the modules define it.
    pub(super) fn extent(&mut self, state: &mut State<'a>, node: NodeId, out: Slot) -> Next<'a> {
        let path = self.program.nodes.get(node as usize).map(|node| node.path.clone()).unwrap_or_default();
        let term = self.original(&path);
        self.push(state, Literal::Defined(term.clone()));
        state.set(out, term);
        Next::Go
    }

    /// A reference through the tree of rules, as the modules define it.
    pub(super) fn tree(&mut self, state: &mut State<'a>, node: NodeId, path: &'a [Key], out: Slot) -> Next<'a> {
        let start = self.program.nodes.get(node as usize).map(|node| node.path.clone()).unwrap_or_default();
        let Term::Ref(root, mut keys) = self.original(&start) else { return go(false) };
        for key in path {
            keys.push(match key {
                Key::Bound(operand) => state.term(operand),
                Key::Free(pattern) => {
                    state.multiple = true;
                    self.pattern_term(state, pattern)
                }
            });
        }
        let var = Term::Var(self.fresh());
        self.push(state, Literal::Equal(var.clone(), Term::Ref(root, keys)));
        state.set(out, var);
        Next::Go
    }
}

fn longer(root: Root, path: &[Term], key: &Term) -> Term {
    Term::Ref(root, path.iter().chain([key]).cloned().collect())
}

/// The members of a known collection, if they are few.
fn members(value: &Value) -> Option<Vec<(Value, Term)>> {
    let same = |item: &Value| (item.clone(), Term::Const(item.clone()));
    let found: Vec<(Value, Term)> = match value {
        Value::Array(items) if items.len() <= MOST_MEMBERS => {
            items.iter().enumerate().map(|(at, item)| (Value::from(at), Term::Const(item.clone()))).collect()
        }
        Value::Set(items) if items.len() <= MOST_MEMBERS => items.iter().map(same).collect(),
        Value::Object(members) if members.len() <= MOST_MEMBERS => {
            members.iter().map(|(key, item)| (key.clone(), Term::Const(item.clone()))).collect()
        }
        Value::Array(_) | Value::Set(_) | Value::Object(_) => return None,
        _ => Vec::new(),
    };
    Some(found)
}
