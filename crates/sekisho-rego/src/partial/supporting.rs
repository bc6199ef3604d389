//! Makes support rules, as many as the residual reads.

use std::sync::Arc;

use super::bodies::reference;
use super::run::{Evaluator, Partial};
use super::state::State;
use super::steps;
use super::support::{SupportHead, SupportRule};
use super::term::{Function, Literal, Term, Uses, Var};
use crate::program::{Branch, Operand, Pattern, Rule, RuleKind, RuleSet, RuleSetId, Slot};
use crate::value::Value;

impl<'a> Evaluator<'a> {
    /// The document of a rule set by support rules.
    pub(super) fn supported(&mut self, id: RuleSetId) -> Term {
        let Some(set) = self.program.sets.get(id as usize) else { return Term::Const(Value::Null) };
        let plain = |rule: &Rule| matches!(&*rule.branches, [branch] if matches!(branch.value, Operand::Const(_)));
        if !set.default.as_ref().is_none_or(plain) {
            return self.original(&set.path);
        }
        let path = self.support.path(&set.path);
        if self.support.seen.insert(id) {
            self.support.waiting.push_back(id);
            if self.facts.set_errs(id) {
                self.support.erring.insert(path.clone());
            }
        }
        reference(&path)
    }

    /// The document at a path as the modules define it.
    pub(super) fn original(&mut self, path: &[Value]) -> Term {
        self.support.modules = true;
        let overlaps = |set: &RuleSet| set.path.starts_with(path) || path.starts_with(&set.path);
        let errs = (0_u32..).zip(&self.program.sets).any(|(id, set)| overlaps(set) && self.facts.set_errs(id));
        if errs {
            self.support.erring.insert(path.to_vec());
        }
        reference(path)
    }

    /// A rule that holds where one of the bodies does, and the literal that asks it.
    pub(super) fn helper(&mut self, bodies: Vec<Vec<Literal>>, mark: Var) -> Literal {
        let mut uses = Uses::new();
        bodies.iter().flatten().for_each(|literal| literal.uses(&mut uses));
        let parameters: Vec<Var> = uses.into_keys().filter(|var| *var < mark).collect();
        self.support.helpers += 1;
        let name = format!("__body{}__", self.support.helpers);
        let path = self.support.path(&[Value::from(name)]);
        let errs = bodies.iter().flatten().any(|literal| self.errs(literal));
        for body in bodies {
            let head = match parameters.as_slice() {
                [] => SupportHead::Value,
                _ => SupportHead::Function(parameters.clone()),
            };
            self.parameters.clone_from(&parameters);
            let branches = vec![(self.ordered(body), Term::Const(Value::Bool(true)))];
            self.parameters.clear();
            self.support.rules.push(SupportRule {
                path: path.clone().into(),
                keys: Vec::new(),
                head,
                default: false,
                branches,
            });
        }
        if errs {
            self.support.erring.insert(path.clone());
        }
        match parameters.is_empty() {
            true => Literal::Truthy(reference(&path)),
            false => Literal::Call(Function::Rule(path.into()), parameters.into_iter().map(Term::Var).collect(), None),
        }
    }

    /// Writes all support rules that are waited for.
    pub(super) fn supports(&mut self) -> Partial<()> {
        while let Some(id) = self.support.waiting.pop_front() {
            if let Some(set) = self.program.sets.get(id as usize) {
                self.support_set(id, set)?;
            }
        }
        Ok(())
    }

    fn support_set(&mut self, id: RuleSetId, set: &'a RuleSet) -> Partial<()> {
        let path: Arc<[Value]> = self.support.path(&set.path).into();
        let before = self.support.rules.len();
        for rule in &set.rules {
            self.support_rule(&path, set, rule)?;
        }
        if !set.constant && self.facts.set_errs(id) {
            self.hide_constant(before, &path);
        }
        let written = self.support.rules.get(before..).unwrap_or_default();
        if !written.iter().any(|rule| rule.path == path) {
            let rule = self.empty(path.clone(), set);
            self.support.rules.push(rule);
        }
        if let Some([branch]) = set.default.as_ref().map(|rule| &*rule.branches)
            && let Operand::Const(value) = &branch.value
        {
            let head = match set.kind {
                RuleKind::Function(arity) => SupportHead::Function((0..arity).map(|_| self.fresh()).collect()),
                _ => SupportHead::Value,
            };
            let branches = vec![(Vec::new(), Term::Const(value.clone()))];
            self.support.rules.push(SupportRule { path, keys: Vec::new(), head, default: true, branches });
        }
        Ok(())
    }

    /// Rules of one constant value would end the search at the first one that holds, and so hide an error of another.
    fn hide_constant(&mut self, from: usize, path: &[Value]) {
        let var = Term::Var(self.fresh());
        let rules = self.support.rules.iter_mut().skip(from).filter(|rule| *rule.path == *path);
        let mut branches: Vec<&mut (Vec<Literal>, Term)> = rules.flat_map(|rule| &mut rule.branches).collect();
        let Some(Term::Const(first)) = branches.first().map(|(_, value)| value.clone()) else { return };
        if branches.iter().all(|(_, value)| value.as_const() == Some(&first))
            && let Some((body, value)) = branches.first_mut().map(|branch| &mut **branch)
        {
            body.push(Literal::Equal(var.clone(), std::mem::replace(value, var)));
        }
    }

    /// The document without any element or value.
    fn empty(&mut self, path: Arc<[Value]>, set: &RuleSet) -> SupportRule {
        let var = self.fresh();
        let free = Literal::Equal(Term::Var(var), Term::Const(Value::Null));
        let (head, keys, value, mut body) = match set.kind {
            RuleKind::Complete => (SupportHead::Value, Vec::new(), Term::Const(Value::Bool(true)), Vec::new()),
            RuleKind::Set => (SupportHead::Element, Vec::new(), Term::Var(var), vec![free]),
            RuleKind::Object => (SupportHead::Value, vec![Term::Var(var)], Term::Const(Value::Null), vec![free]),
            RuleKind::Function(arity) => {
                let parameters = (0..arity).map(|_| self.fresh()).collect();
                (SupportHead::Function(parameters), Vec::new(), Term::Const(Value::Bool(true)), Vec::new())
            }
        };
        body.push(Literal::Never);
        SupportRule { path, keys, head, default: false, branches: vec![(body, value)] }
    }

    fn support_rule(&mut self, path: &Arc<[Value]>, set: &'a RuleSet, rule: &'a Rule) -> Partial<()> {
        let parameters: Vec<Var> = rule.parameters.iter().map(|_| self.fresh()).collect();
        let head = match set.kind {
            RuleKind::Function(_) => SupportHead::Function(parameters.clone()),
            _ if rule.element => SupportHead::Element,
            _ => SupportHead::Value,
        };
        let one =
            |keys, branches| SupportRule { path: path.clone(), keys, head: head.clone(), default: false, branches };
        let splits = rule.branches.len() == 1;
        let mut chain = Vec::with_capacity(rule.branches.len());
        for branch in &rule.branches {
            let Some(start) = self.start(rule, branch, &parameters) else { return Ok(()) };
            for state in self.explore(start, splits)? {
                let (keys, part) = self.written(state, rule, branch, &parameters);
                let certain = part.0.is_empty();
                if splits {
                    self.support.rules.push(one(keys, vec![part]));
                } else {
                    chain.push(part);
                    if certain {
                        self.support.rules.push(one(keys, chain));
                        return Ok(());
                    }
                }
            }
        }
        if !chain.is_empty() {
            self.support.rules.push(one(Vec::new(), chain));
        }
        Ok(())
    }

    fn start(&mut self, rule: &'a Rule, branch: &'a Branch, parameters: &[Var]) -> Option<State<'a>> {
        let mut ends: Vec<Slot> = Vec::new();
        for operand in branch.path.iter().chain([&branch.value]) {
            steps::operand_slots(operand, &mut |slot| ends.push(slot));
        }
        let mut state = State::new(&branch.block.steps, vec![None; rule.slots as usize], ends);
        for (pattern, var) in rule.parameters.iter().zip(parameters) {
            if !matches!(pattern, Pattern::Any) && !self.matches(&mut state, pattern, Term::Var(*var)) {
                return None;
            }
        }
        Some(state)
    }

    /// The keys of the head, and body and value of a branch.
    fn written(
        &mut self,
        mut state: State<'a>,
        rule: &Rule,
        branch: &'a Branch,
        parameters: &[Var],
    ) -> (Vec<Term>, (Vec<Literal>, Term)) {
        let (keys, value) = match state.never {
            true => {
                let constant = |operand: &Operand| match operand {
                    Operand::Const(value) => Term::Const(value.clone()),
                    _ => Term::Const(Value::Null),
                };
                (branch.path.iter().map(constant).collect(), constant(&branch.value))
            }
            false => (state.terms(&branch.path), state.term(&branch.value)),
        };
        let last = state.literals.pop_if(|literal| matches!(literal, Literal::Never));
        // A name that is written is in the document even where nothing below it is defined; a computed one is not.
        let below = branch.path.len() + usize::from(rule.element);
        let is_written = |at: usize| at + 1 >= below || matches!(branch.path.get(at), Some(Operand::Const(_)));
        let keys: Vec<Term> = keys
            .into_iter()
            .enumerate()
            .map(|(at, key)| match key {
                Term::Var(_) => key,
                Term::Const(Value::String(_)) if is_written(at) => key,
                other => self.bind(&mut state, other),
            })
            .collect();
        state.literals.extend(last);
        let heads: Vec<Term> = keys.iter().chain([&value]).cloned().collect();
        let body = self.tidy(state.literals, &heads);
        self.parameters = parameters.to_vec();
        let body = self.ordered(body);
        self.parameters.clear();
        (keys, (body, value))
    }
}
