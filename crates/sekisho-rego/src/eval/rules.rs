//! Documents that rules define.

use super::error::EvalCode;
use super::machine::{COMPARED, Eval, Machine};
use super::partial::Partial;
use super::step::{base_key, distinct_members};
use super::val::Val;
use crate::program::{Branch, Candidates, Column, Operand, Rule, RuleKind, RuleSet, RuleSetId, Start};
use crate::syntax::ast::Span;
use crate::value::Value;

/// So few rules are tried without looking for fewer.
const FEW: usize = 2;

impl<'a> Machine<'a> {
    /// The document of a rule set, or the base document where a modifier replaces it.
    pub(super) fn document_or_base(&mut self, id: RuleSetId) -> Eval<Option<Val<'a>>> {
        if !self.targets.is_empty() {
            let Some(set) = self.program.sets.get(id as usize) else { return Ok(None) };
            if self.is_replaced(&set.path) {
                return Ok(self.base_at(&set.path));
            }
        }
        self.document(id)
    }

    /// The document of a rule set; none where it is undefined.
    pub(super) fn document(&mut self, id: RuleSetId) -> Eval<Option<Val<'a>>> {
        if let Some(known) = self.cache().documents.get(&id) {
            return Ok(known.clone().map(Val::Own));
        }
        let found = self.evaluate(id)?;
        self.cache_mut().documents.insert(id, found.clone());
        Ok(found.map(Val::Own))
    }

    /// The document of a rule set, computed anew.
    pub(super) fn evaluate(&mut self, id: RuleSetId) -> Eval<Option<Value>> {
        let Some(set) = self.program.sets.get(id as usize) else { return Ok(None) };
        let module = self.module;
        let found = match set.kind {
            RuleKind::Complete => self.complete(set, &[])?.map(Val::into_value),
            RuleKind::Set => Some(self.partial_set(set)?),
            RuleKind::Object => Some(self.partial_object(set)?),
            RuleKind::Function(_) => None,
        };
        if let Some(found) = &found {
            self.admit(found, set.rules.first().map(rule_span).unwrap_or_default())?;
        }
        self.module = module;
        Ok(found)
    }

    /// The result of a function for arguments.
    pub(super) fn function(&mut self, id: RuleSetId, arguments: Vec<Val<'a>>) -> Eval<Option<Val<'a>>> {
        let Some(set) = self.program.sets.get(id as usize) else { return Ok(None) };
        self.tick(arguments.iter().map(|argument| hashing(argument)).sum())?;
        let key = (id, arguments.iter().map(|argument| Value::clone(argument)).collect());
        if let Some(known) = self.cache().calls.get(&key) {
            return Ok(known.clone().map(Val::Own));
        }
        let module = self.module;
        let found = self.complete(set, &arguments)?;
        self.module = module;
        self.cache_mut().calls.insert(key, found.as_deref().cloned());
        Ok(found)
    }

    /// The rules that can hold, by the column of the index that leaves the fewest.
    fn candidates(&self, set: &'a RuleSet, arguments: &[Val<'a>]) -> Candidate<'a> {
        let mut few: Option<Candidates<'a>> = None;
        for column in set.index.iter().filter(|_| !self.is_watched()).flat_map(|index| index.columns.iter()) {
            let found = self.column(column, arguments);
            if few.is_none_or(|few| found.len() < few.len()) {
                few = Some(found);
            }
            if found.len() <= FEW {
                break;
            }
        }
        match few {
            Some(few) => Candidate::Few(few, &set.rules),
            None => Candidate::All(set.rules.iter()),
        }
    }

    fn column(&self, column: &'a Column, arguments: &[Val<'a>]) -> Candidates<'a> {
        let found = match column.start {
            Start::Input => below(self.input.as_deref(), &column.keys),
            Start::Argument(number) => below(arguments.get(number as usize).map(|value| &**value), &column.keys),
            Start::Data => {
                let start = Some(self.data.clone());
                let found = column.keys.iter().fold(start, |value, key| base_key(&value?, key));
                return column.candidates(found.as_deref());
            }
        };
        column.candidates(found)
    }

    /// The one value of a complete rule or of a function.
    fn complete(&mut self, set: &'a RuleSet, arguments: &[Val<'a>]) -> Eval<Option<Val<'a>>> {
        let mut found = None;
        let early = set.constant && !self.limits.exhaustive;
        if self.is_traced() {
            self.trace_index(set, self.candidates(set, arguments).count(), early);
        }
        for rule in self.candidates(set, arguments) {
            self.one_value(set, rule, arguments, &mut found)?;
            if early && found.is_some() {
                return Ok(found);
            }
        }
        if found.is_none()
            && let Some(rule) = &set.default
        {
            self.one_value(set, rule, arguments, &mut found)?;
        }
        Ok(found)
    }

    fn one_value(
        &mut self,
        set: &'a RuleSet,
        rule: &'a Rule,
        arguments: &[Val<'a>],
        found: &mut Option<Val<'a>>,
    ) -> Eval<()> {
        self.module = rule.module;
        let base = self.open_frame(rule.slots);
        let mut parameters = rule.parameters.iter().zip(arguments);
        if parameters.all(|(pattern, argument)| self.matches(pattern, argument.clone(), base)) {
            for branch in &rule.branches {
                if self.branch(set, branch, base, found)? {
                    break;
                }
            }
        }
        self.close_frame(base);
        Ok(())
    }

    /// Whether the branch has a value; that value has to be the one found before.
    fn branch(&mut self, set: &'a RuleSet, branch: &'a Branch, base: usize, found: &mut Option<Val<'a>>) -> Eval<bool> {
        let constant = matches!(branch.value, Operand::Const(_));
        let mut holds = false;
        if self.is_traced() {
            self.announce(set, branch.span);
        }
        self.run(&branch.block, base, &mut |machine| {
            holds = true;
            let value = machine.operand(&branch.value, base);
            match found {
                None => *found = Some(value),
                Some(before) if machine.is_same(before, &value) => {}
                Some(_) => return Err(machine.conflict(set, branch.span)),
            }
            Ok(!constant)
        })?;
        if self.trace.is_some() {
            self.considered(set, branch, holds);
        }
        Ok(holds)
    }

    fn is_same(&self, left: &Value, right: &Value) -> bool {
        self.charge_compared(left, right);
        left == right
    }

    /// Counts that a value is put at a path of an object.
    fn charge_member(&self, path: &[Value], value: &Value) {
        let keys: u64 = path.iter().map(Value::weight).sum();
        self.charge(keys.saturating_add(value.weight() / COMPARED));
    }

    fn conflict(&self, set: &RuleSet, span: Span) -> super::error::EvalError {
        let path = path_text(&set.path);
        let message = match set.kind {
            RuleKind::Function(_) => format!("function {path} produced conflicting values for the same inputs"),
            _ => format!("rule {path} produced conflicting values"),
        };
        self.error(EvalCode::Conflict, message, span)
    }

    fn partial_set(&mut self, set: &'a RuleSet) -> Eval<Value> {
        let mut items = Vec::new();
        self.each_solution(set, &mut |machine, _, branch, base| {
            let value = machine.operand(&branch.value, base).into_value();
            if machine.is_traced() && items.contains(&value) {
                machine.trace_duplicate(set, branch.span, &value);
            }
            items.push(value);
            Ok(())
        })?;
        Ok(self.set_of(items))
    }

    fn partial_object(&mut self, set: &'a RuleSet) -> Eval<Value> {
        let flat = |rule: &Rule| !rule.element && rule.branches.iter().all(|branch| branch.path.len() == 1);
        if set.rules.iter().all(flat) {
            let mut members = Vec::new();
            self.each_solution(set, &mut |machine, _, branch, base| {
                if let Some(key) = branch.path.first() {
                    let key = machine.operand(key, base).into_value();
                    members.push((key, machine.operand(&branch.value, base).into_value()));
                }
                Ok(())
            })?;
            self.charge_members(&members);
            let span = set.rules.first().map(rule_span);
            return match distinct_members(members) {
                Some(object) => Ok(Value::Object(object)),
                None => Err(self.error(EvalCode::Conflict, "object keys must be unique", span.unwrap_or_default())),
            };
        }
        let mut partial = Partial::default();
        self.each_solution(set, &mut |machine, rule, branch, base| {
            let path: Vec<_> = branch.path.iter().map(|key| machine.operand(key, base).into_value()).collect();
            let value = machine.operand(&branch.value, base).into_value();
            machine.charge_member(&path, &value);
            match partial.add(path, value, rule.element) {
                true => Ok(()),
                false => Err(machine.error(EvalCode::Conflict, "object keys must be unique", branch.span)),
            }
        })?;
        Ok(partial.finish())
    }

    /// Calls `found` for each solution of each rule.
    fn each_solution(
        &mut self,
        set: &'a RuleSet,
        found: &mut dyn FnMut(&mut Machine<'a>, &'a Rule, &'a Branch, usize) -> Eval<()>,
    ) -> Eval<()> {
        if self.is_traced() {
            self.trace_index(set, self.candidates(set, &[]).count(), false);
        }
        for rule in self.candidates(set, &[]) {
            self.module = rule.module;
            let base = self.open_frame(rule.slots);
            for branch in &rule.branches {
                let mut holds = false;
                if self.is_traced() {
                    self.announce(set, branch.span);
                }
                self.run(&branch.block, base, &mut |machine| {
                    holds = true;
                    found(machine, rule, branch, base)?;
                    Ok(true)
                })?;
                if self.trace.is_some() {
                    self.considered(set, branch, holds);
                }
                if holds {
                    break;
                }
            }
            self.close_frame(base);
        }
        Ok(())
    }
}

fn below<'v>(start: Option<&'v Value>, keys: &[Value]) -> Option<&'v Value> {
    keys.iter().try_fold(start?, |value, key| value.get(key))
}

/// The time that the hash of an argument takes, in steps. A collection keeps its hash.
fn hashing(argument: &Value) -> u64 {
    match argument {
        Value::String(_) | Value::Number(_) => argument.weight() - 1,
        _ => argument.weight() / 64,
    }
}

fn rule_span(rule: &Rule) -> Span {
    rule.branches.first().map(|branch| branch.span).unwrap_or_default()
}

/// The rules of a set that are tried.
enum Candidate<'a> {
    All(std::slice::Iter<'a, Rule>),
    Few(Candidates<'a>, &'a [Rule]),
}

impl<'a> Iterator for Candidate<'a> {
    type Item = &'a Rule;

    fn next(&mut self) -> Option<&'a Rule> {
        match self {
            Candidate::All(rules) => rules.next(),
            Candidate::Few(numbers, rules) => rules.get(numbers.next()? as usize),
        }
    }
}

/// `data.a.b["c d"]`.
pub(super) fn path_text(path: &[Value]) -> String {
    let mut text = "data".to_owned();
    for key in path {
        match key.as_str().filter(|name| is_name(name)) {
            Some(name) => {
                text.push('.');
                text.push_str(name);
            }
            None => text.push_str(&format!("[{key}]")),
        }
    }
    text
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
