//! Puts the literals of a body in an order in which every variable is bound before it is read.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Comprehension, Head, Literal, LiteralKind, Term, Var};

pub(super) type Vars = BTreeSet<Var>;

/// The literals in a safe order: each as early as it can stand, else as they are written. Where there is none, the
/// variables that stay unbound.
pub(super) fn order<'b>(body: &'b [Literal], bound: &Vars) -> Result<Vec<&'b Literal>, Vars> {
    let needs: Vec<Needs> = body.iter().map(Needs::of).collect();
    let visible: Vars = needs.iter().flat_map(|needs| needs.own.iter().copied()).collect();
    let mut users: BTreeMap<Var, Vec<usize>> = BTreeMap::new();
    for (at, needs) in needs.iter().enumerate() {
        for var in needs.own.iter().chain(&needs.closed).filter(|var| !bound.contains(var)) {
            users.entry(*var).or_default().push(at);
        }
    }
    let mut safe: Vars = visible.intersection(bound).copied().collect();
    let mut ordered = Vec::with_capacity(body.len());
    let mut placed = vec![false; body.len()];
    // Those to look at in this pass, which goes on in the order of the body, and those of the next one.
    let mut now: BTreeSet<usize> = (0..body.len()).collect();
    let mut next = BTreeSet::new();
    while let Some(at) = now.pop_first().or_else(|| {
        now = std::mem::take(&mut next);
        now.pop_first()
    }) {
        let (Some(literal), Some(needs), Some(placed)) = (body.get(at), needs.get(at), placed.get_mut(at)) else {
            continue;
        };
        let closed = needs.closed.iter().all(|var| safe.contains(var) || bound.contains(var) || !visible.contains(var));
        if *placed || !closed {
            continue;
        }
        let own: Vars = needs.own.intersection(&safe).copied().collect();
        let outputs = outputs(literal, &own);
        if !needs.own.iter().all(|var| own.contains(var) || outputs.contains(var)) {
            continue;
        }
        *placed = true;
        ordered.push(literal);
        for var in outputs {
            if safe.insert(var) {
                for user in users.get(&var).into_iter().flatten() {
                    if *user > at {
                        now.insert(*user)
                    } else {
                        next.insert(*user)
                    };
                }
            }
        }
    }
    if ordered.len() == body.len() {
        return Ok(ordered);
    }
    let unplaced = needs.iter().zip(&placed).filter(|(_, placed)| !**placed);
    Err(unplaced.flat_map(|(needs, _)| needs.own.iter()).filter(|var| !safe.contains(var)).copied().collect())
}

/// The variables of a literal: those it reads or binds itself, and those that closures within it see.
#[derive(Default)]
struct Needs {
    own: Vars,
    closed: Vars,
}

impl Needs {
    fn of(literal: &Literal) -> Needs {
        let mut needs = Needs::default();
        for term in literal.kind.terms().into_iter().chain(literal.modifier_terms()) {
            term.each_var(&mut |var| {
                needs.own.insert(var);
            });
            term.each_comprehension(&mut |inner| comprehension_vars(inner, &mut needs.closed));
        }
        literal.kind.bodies().into_iter().for_each(|body| body_vars(body, &mut needs.closed));
        needs
    }
}

fn comprehension_vars(comprehension: &Comprehension, found: &mut Vars) {
    for term in comprehension.key.iter().chain([&comprehension.value]) {
        term_vars(term, found);
    }
    body_vars(&comprehension.body, found);
}

fn body_vars(body: &[Literal], found: &mut Vars) {
    for literal in body {
        literal.kind.terms().into_iter().chain(literal.modifier_terms()).for_each(|term| term_vars(term, found));
        literal.kind.bodies().into_iter().for_each(|inner| body_vars(inner, found));
    }
}

fn term_vars(term: &Term, found: &mut Vars) {
    term.each_var(&mut |var| {
        found.insert(var);
    });
    term.each_comprehension(&mut |inner| comprehension_vars(inner, found));
}

/// The variables a literal binds where those of `safe` are bound.
fn outputs(literal: &Literal, safe: &Vars) -> Vars {
    let mut inputs = Vars::new();
    literal.modifier_terms().for_each(|term| {
        term.each_var(&mut |var| {
            inputs.insert(var);
        })
    });
    if literal.negated || !inputs.is_subset(safe) {
        return Vars::new();
    }
    let mut found = Vars::new();
    for term in literal.kind.terms() {
        ref_outputs(term, safe, &mut found);
    }
    match &literal.kind {
        LiteralKind::Equal { left, right, assign } => equal_outputs(left, right, *assign, safe, found),
        LiteralKind::Call { arguments, result: Some(result), .. } => {
            call_outputs(&arguments.iter().collect::<Vec<_>>(), result, safe, found)
        }
        LiteralKind::Member { key, value, collection, result: Some(result) } => {
            call_outputs(&key.iter().chain([value, collection]).collect::<Vec<_>>(), result, safe, found)
        }
        _ => found,
    }
}

fn call_outputs(arguments: &[&Term], result: &Term, safe: &Vars, mut found: Vars) -> Vars {
    let mut unbound = false;
    for argument in arguments {
        argument.each_var(&mut |var| unbound |= !safe.contains(&var) && !found.contains(&var));
    }
    if unbound {
        return Vars::new();
    }
    pattern_vars(result, &mut found);
    found
}

fn equal_outputs(left: &Term, right: &Term, assign: bool, safe: &Vars, found: Vars) -> Vars {
    let mut bound: Vars = safe.union(&found).copied().collect();
    if assign {
        left.each_var(&mut |var| {
            bound.remove(&var);
        });
    }
    let mut changed = true;
    while changed {
        changed = unify(left, right, &mut bound);
    }
    bound.difference(safe).copied().collect()
}

/// The variables that the keys of references bind, where the heads of the references are bound.
fn ref_outputs(term: &Term, safe: &Vars, found: &mut Vars) {
    term.each_ref(&mut |head, path| {
        if matches!(head, Head::Var(var) if !safe.contains(&var)) {
            return;
        }
        path.iter().for_each(|key| pattern_vars(key, found));
    });
}

/// The variables that matching a term binds.
fn pattern_vars(term: &Term, found: &mut Vars) {
    match term {
        Term::Var(var) => {
            found.insert(*var);
        }
        Term::Array(items) => items.iter().for_each(|item| pattern_vars(item, found)),
        Term::Object(members) => members.iter().for_each(|(_, value)| pattern_vars(value, found)),
        _ => {}
    }
}

fn is_bound(term: &Term, bound: &Vars) -> bool {
    match term {
        Term::Ref(Head::Var(var), _) => bound.contains(var),
        Term::Ref(..) | Term::Const(_) | Term::Comprehension(_) | Term::Set(_) => true,
        Term::Var(var) => bound.contains(var),
        Term::Array(items) => items.iter().all(|item| is_bound(item, bound)),
        Term::Object(members) => members.iter().all(|(_, value)| is_bound(value, bound)),
    }
}

/// One round of what unification of two terms binds; true if it found something new.
fn unify(left: &Term, right: &Term, bound: &mut Vars) -> bool {
    let size = bound.len();
    match (left, right) {
        (Term::Array(a), Term::Array(b)) => {
            if a.len() == b.len() {
                for (a, b) in a.iter().zip(b) {
                    unify(a, b, bound);
                }
            }
        }
        (Term::Object(a), Term::Object(b)) => {
            for (key, value) in a {
                let same = |other: &&(Term, Term)| same_key(&other.0, key);
                if let Some((_, other)) = b.iter().find(same) {
                    unify(value, other, bound);
                }
            }
        }
        _ => {
            let (left_bound, right_bound) = (is_bound(left, bound), is_bound(right, bound));
            if left_bound {
                pattern_vars(right, bound);
            }
            if right_bound {
                pattern_vars(left, bound);
            }
        }
    }
    bound.len() > size
}

pub(super) fn same_key(a: &Term, b: &Term) -> bool {
    match (a, b) {
        (Term::Const(a), Term::Const(b)) => a == b,
        (Term::Var(a), Term::Var(b)) => a == b,
        _ => false,
    }
}
