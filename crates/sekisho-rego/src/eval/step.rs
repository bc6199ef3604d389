//! What each step does. A step that holds binds its slots; one with several ways leaves a choice behind.

use super::descent::Descent;
use super::error::EvalCode;
use super::machine::{COMPARED, Eval, Machine};
use super::val::Val;
use crate::program::{Base, Collect, CollectKind, Compare, Every, Operand, Pattern, Step, StepKind};
use crate::syntax::ast::Span;
use crate::value::{Object, Set, Value};

impl<'a> Machine<'a> {
    /// Runs one step, the one at `at` of its block; false where it does not hold or left a choice to begin with.
    pub(super) fn step(&mut self, step: &'a Step, at: usize, base: usize) -> Eval<bool> {
        match &step.kind {
            StepKind::Get { base: start, keys, out } => {
                let Some(found) = self.get(start, keys, base) else { return Ok(false) };
                self.set(base, *out, found);
                Ok(true)
            }
            StepKind::Each { collection, .. } => {
                let collection = self.operand(collection, base);
                self.choose_items(at, collection);
                Ok(false)
            }
            StepKind::Rule { set, out } => {
                let Some(found) = self.document_or_base(*set)? else { return Ok(false) };
                self.set(base, *out, found);
                Ok(true)
            }
            StepKind::Extent { node, out } => {
                let Some(found) = self.extent(*node)? else { return Ok(false) };
                self.set(base, *out, found);
                Ok(true)
            }
            StepKind::Tree { node, path, out, outs } => {
                let rows = self.tree_rows(*node, path, outs, base)?;
                let _ = out;
                self.choose_rows(at, rows);
                Ok(false)
            }
            StepKind::Match { value, pattern: Pattern::Equal(other) } => self.equal(value, other, base),
            StepKind::Match { value, pattern } => {
                let value = self.operand(value, base);
                self.admit(&value, step.span)?;
                Ok(self.matches(pattern, value, base))
            }
            StepKind::Test { value } => Ok(!matches!(*self.peek(value, base), Value::Bool(false))),
            StepKind::Compare { op, left, right } => self.compare(*op, left, right, base),
            StepKind::Call { callee, arguments, result } => {
                self.call_step(*callee, arguments, result.as_ref(), step.span, base)
            }
            StepKind::Traverse { value, result } => {
                let value = self.operand(value, base);
                self.choose_descent(at, Descent::new(value, result));
                Ok(false)
            }
            StepKind::Member { key, value, collection, result } => {
                let found = self.member(key.as_ref(), value, collection, base)?;
                match result {
                    None => Ok(found),
                    Some(pattern) => Ok(self.matches(pattern, Val::bool(found), base)),
                }
            }
            StepKind::Not { block } => Ok(!self.holds(block, base)?),
            StepKind::And { left, right } => Ok(self.holds(left, base)? && self.holds(right, base)?),
            StepKind::Or { left, right } => Ok(self.holds(left, base)? || self.holds(right, base)?),
            StepKind::Every(every) => self.every(every, base),
            StepKind::Collect(collect) => {
                let found = self.collect(collect, step.span, base)?;
                self.admit(&found, step.span)?;
                self.set(base, collect.out, Val::Own(found));
                Ok(true)
            }
            StepKind::With { mods, block, outs } => self.with(mods, block, outs, at, step.span, base),
            StepKind::Fail => Ok(false),
        }
    }

    fn get(&self, start: &'a Base, keys: &'a [Operand], base: usize) -> Option<Val<'a>> {
        let mut value = match start {
            Base::Input => self.input.clone()?,
            Base::Data => return self.base_keys(keys, base),
            Base::Value(operand) => self.operand(operand, base),
        };
        for key in keys {
            value = match key {
                Operand::Const(key) => value.get(key)?,
                _ => {
                    let key = self.peek(key, base);
                    self.charge(key.weight() / COMPARED);
                    value.get(&key)?
                }
            };
        }
        Some(value)
    }

    /// Keys of the base document.
    fn base_keys(&self, keys: &'a [Operand], base: usize) -> Option<Val<'a>> {
        let mut value = self.data.clone();
        for key in keys {
            let key = self.peek(key, base);
            self.charge(key.weight() / COMPARED);
            value = base_key(&value, &key)?;
        }
        Some(value)
    }

    fn equal(&mut self, left: &'a Operand, right: &'a Operand, base: usize) -> Eval<bool> {
        let (left, right) = (self.peek(left, base), self.peek(right, base));
        self.charge_compared(&left, &right);
        Ok(left == right)
    }

    fn compare(&mut self, op: Compare, left: &'a Operand, right: &'a Operand, base: usize) -> Eval<bool> {
        let (left, right) = (self.peek(left, base), self.peek(right, base));
        self.charge_compared(&left, &right);
        let order = left.cmp(&right);
        Ok(match op {
            Compare::NotEqual => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterEqual => order.is_ge(),
        })
    }

    fn member(
        &mut self,
        key: Option<&'a Operand>,
        value: &'a Operand,
        collection: &'a Operand,
        base: usize,
    ) -> Eval<bool> {
        let (found, work) = {
            let (value, collection) = (self.peek(value, base), self.peek(collection, base));
            match (key, &*collection) {
                (Some(key), collection) => {
                    let found = collection.get(&self.peek(key, base)).is_some_and(|found| *found == *value);
                    (found, value.weight())
                }
                (None, Value::Array(items)) => (items.contains(&value), collection.weight()),
                (None, Value::Set(items)) => (items.contains(&value), value.weight()),
                (None, Value::Object(members)) => (members.values().any(|item| *item == *value), collection.weight()),
                _ => (false, 0),
            }
        };
        self.tick(work / COMPARED)?;
        Ok(found)
    }

    fn every(&mut self, every: &'a Every, base: usize) -> Eval<bool> {
        let domain = self.operand(&every.domain, base);
        if !domain.is_collection() {
            return Ok(false);
        }
        let mut at = 0;
        while let Some((key, value)) = domain.item(at) {
            self.tick(1)?;
            at += 1;
            let bound = self.matches(&every.key, key, base) && self.matches(&every.value, value, base);
            if bound && !self.holds(&every.block, base)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn collect(&mut self, collect: &'a Collect, span: Span, base: usize) -> Eval<Value> {
        if let CollectKind::Object { key } = &collect.kind {
            let mut members = Vec::new();
            self.run(&collect.block, base, &mut |machine| {
                let key = machine.operand(key, base).into_value();
                members.push((key, machine.operand(&collect.value, base).into_value()));
                Ok(true)
            })?;
            self.charge_members(&members);
            return match distinct_members(members) {
                Some(object) => Ok(Value::Object(object)),
                None => Err(self.error(EvalCode::Conflict, "object keys must be unique", span)),
            };
        }
        let mut items = Vec::new();
        self.run(&collect.block, base, &mut |machine| {
            items.push(machine.operand(&collect.value, base).into_value());
            Ok(true)
        })?;
        match collect.kind {
            CollectKind::Array => Ok(Value::from(items)),
            _ => Ok(self.set_of(items)),
        }
    }

    /// The set of values.
    pub(super) fn set_of(&self, items: Vec<Value>) -> Value {
        self.charge_ordered(items.iter().map(Value::weight).sum(), items.len());
        Value::Set(Set::from_vec(items))
    }

    /// Counts that members are put in the order of their keys.
    pub(super) fn charge_members(&self, members: &[(Value, Value)]) {
        let weight = members.iter().map(|(key, value)| key.weight().saturating_add(value.weight()));
        self.charge_ordered(weight.sum(), members.len());
    }
}

/// A key of the base document: OPA's store takes a number for the member of that text, and a text for the element of
/// that position.
pub(super) fn base_key<'a>(value: &Val<'a>, key: &Value) -> Option<Val<'a>> {
    match (value.get(key), key, &**value) {
        (None, Value::Number(number), Value::Object(_)) => value.get(&Value::from(number.to_string())),
        (None, Value::String(text), Value::Array(_)) => {
            let canonical = text.parse::<u32>().ok().filter(|position| position.to_string() == **text)?;
            value.get(&Value::from(i64::from(canonical)))
        }
        (found, _, _) => found,
    }
}

/// The object of members; none where a key has two values.
pub(super) fn distinct_members(mut members: Vec<(Value, Value)>) -> Option<Object> {
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let conflict = members.windows(2).any(|pair| match pair {
        [a, b] => a.0 == b.0 && a.1 != b.1,
        _ => false,
    });
    if conflict {
        return None;
    }
    members.dedup_by(|a, b| a.0 == b.0);
    Some(Object::from_vec(members))
}
