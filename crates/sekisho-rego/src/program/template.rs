//! The steps of a rule with places for its constants: rules of one form become steps by filling these.

use std::collections::HashMap;

use super::step::{
    Base, Block, Branch, Collect, CollectKind, Every, Key, Mock, Operand, Pattern, Rule, Step, StepKind, Target,
    WithMod,
};
use crate::syntax::ast::Span;
use crate::syntax::forms::Form;
use crate::value::Value;

/// The text that stands for a constant begins so.
const MARK: char = '\u{0}';

/// A rule whose constants are marks.
pub(super) struct Template {
    rule: Rule,
    /// The numbers of places in the form.
    spans: HashMap<Span, usize>,
}

/// The mark of each constant of a form while its template is made.
pub(super) fn marks(form: &Form<'_>) -> HashMap<Span, Value> {
    let mark =
        |(number, term): (usize, &&crate::syntax::ast::Term)| (term.span, Value::from(format!("{MARK}{number}")));
    form.constants.iter().enumerate().map(mark).collect()
}

fn mark(value: &Value) -> Option<usize> {
    value.as_str()?.strip_prefix(MARK)?.parse().ok()
}

impl Template {
    /// The template of a form, from a rule that was lowered with its marks; none where a constant or a place does not
    /// only pass through the lowering: two constants that are compared, for example, or one in a constant list.
    pub(super) fn new(marked: Rule, form: &Form<'_>) -> Option<Template> {
        let mut spans = HashMap::new();
        for (number, span) in form.spans.iter().enumerate() {
            spans.entry(*span).or_insert(number);
        }
        let values: Vec<Value> = form.constants.iter().map(|_| Value::Null).collect();
        let mut fill =
            Fill { spans: &spans, values: &values, places: &form.spans, filled: vec![0; values.len()], lost: false };
        fill.rule(&marked);
        let whole = !fill.lost && fill.filled.iter().all(|count| *count == 1);
        whole.then_some(Template { rule: marked, spans })
    }

    /// The rule with these constants and places.
    pub(super) fn rule(&self, values: &[Value], places: &[Span]) -> Rule {
        Fill { spans: &self.spans, values, places, filled: vec![0; values.len()], lost: false }.rule(&self.rule)
    }
}

/// Copies a rule, with constants in place of marks.
struct Fill<'a> {
    spans: &'a HashMap<Span, usize>,
    values: &'a [Value],
    places: &'a [Span],
    /// How often each constant was put in.
    filled: Vec<u32>,
    /// Whether a mark or a place was not found.
    lost: bool,
}

impl Fill<'_> {
    fn span(&mut self, span: Span) -> Span {
        let found = self.spans.get(&span).and_then(|number| self.places.get(*number));
        self.lost |= found.is_none() && span != Span::default();
        found.copied().unwrap_or(span)
    }

    fn value(&mut self, value: &Value) -> Value {
        match mark(value) {
            None => {
                self.lost |= holds_mark(value);
                value.clone()
            }
            Some(number) => {
                self.filled.get_mut(number).into_iter().for_each(|count| *count += 1);
                self.values.get(number).cloned().unwrap_or_default()
            }
        }
    }

    fn rule(&mut self, rule: &Rule) -> Rule {
        Rule {
            parameters: self.patterns(&rule.parameters),
            element: rule.element,
            branches: rule.branches.iter().map(|branch| self.branch(branch)).collect(),
            slots: rule.slots,
            module: rule.module,
        }
    }

    fn branch(&mut self, branch: &Branch) -> Branch {
        Branch {
            block: self.block(&branch.block),
            path: self.operands(&branch.path),
            value: self.operand(&branch.value),
            span: self.span(branch.span),
        }
    }

    fn block(&mut self, block: &Block) -> Block {
        Block { steps: block.steps.iter().map(|step| self.step(step)).collect() }
    }

    fn operands(&mut self, operands: &[Operand]) -> Box<[Operand]> {
        operands.iter().map(|operand| self.operand(operand)).collect()
    }

    fn operand(&mut self, operand: &Operand) -> Operand {
        match operand {
            Operand::Const(value) => Operand::Const(self.value(value)),
            Operand::Slot(slot) => Operand::Slot(*slot),
            Operand::Array(items) => Operand::Array(self.operands(items)),
            Operand::Set(items) => Operand::Set(self.operands(items)),
            Operand::Object(members) => {
                Operand::Object(members.iter().map(|(key, value)| (self.operand(key), self.operand(value))).collect())
            }
        }
    }

    fn optional(&mut self, operand: Option<&Operand>) -> Option<Operand> {
        operand.map(|operand| self.operand(operand))
    }

    fn patterns(&mut self, patterns: &[Pattern]) -> Box<[Pattern]> {
        patterns.iter().map(|pattern| self.pattern(pattern)).collect()
    }

    fn pattern(&mut self, pattern: &Pattern) -> Pattern {
        match pattern {
            Pattern::Any => Pattern::Any,
            Pattern::Bind(slot) => Pattern::Bind(*slot),
            Pattern::Equal(operand) => Pattern::Equal(self.operand(operand)),
            Pattern::Array(parts) => Pattern::Array(self.patterns(parts)),
            Pattern::Object(parts) => {
                Pattern::Object(parts.iter().map(|(key, part)| (self.operand(key), self.pattern(part))).collect())
            }
        }
    }

    fn step(&mut self, step: &Step) -> Step {
        let kind = match &step.kind {
            StepKind::Get { base, keys, out } => {
                StepKind::Get { base: self.base(base), keys: self.operands(keys), out: *out }
            }
            StepKind::Each { collection, key, value } => StepKind::Each {
                collection: self.operand(collection),
                key: self.pattern(key),
                value: self.pattern(value),
            },
            StepKind::Match { value, pattern } => {
                StepKind::Match { value: self.operand(value), pattern: self.pattern(pattern) }
            }
            StepKind::Test { value } => StepKind::Test { value: self.operand(value) },
            StepKind::Compare { op, left, right } => {
                StepKind::Compare { op: *op, left: self.operand(left), right: self.operand(right) }
            }
            StepKind::Call { callee, arguments, result } => StepKind::Call {
                callee: *callee,
                arguments: self.operands(arguments),
                result: result.as_ref().map(|result| self.pattern(result)),
            },
            StepKind::Member { key, value, collection, result } => StepKind::Member {
                key: self.optional(key.as_ref()),
                value: self.operand(value),
                collection: self.operand(collection),
                result: result.as_ref().map(|result| self.pattern(result)),
            },
            StepKind::Traverse { value, result } => {
                StepKind::Traverse { value: self.operand(value), result: self.pattern(result) }
            }
            other => self.nested(other),
        };
        Step { kind, span: self.span(step.span) }
    }

    /// Steps of documents, and those that hold others.
    fn nested(&mut self, kind: &StepKind) -> StepKind {
        match kind {
            StepKind::Rule { set, out } => StepKind::Rule { set: *set, out: *out },
            StepKind::Extent { node, out } => StepKind::Extent { node: *node, out: *out },
            StepKind::Tree { node, path, out, outs } => StepKind::Tree {
                node: *node,
                path: path.iter().map(|key| self.key(key)).collect(),
                out: *out,
                outs: outs.clone(),
            },
            StepKind::Not { block } => StepKind::Not { block: self.block(block) },
            StepKind::And { left, right } => StepKind::And { left: self.block(left), right: self.block(right) },
            StepKind::Or { left, right } => StepKind::Or { left: self.block(left), right: self.block(right) },
            StepKind::Every(every) => StepKind::Every(Box::new(Every {
                domain: self.operand(&every.domain),
                key: self.pattern(&every.key),
                value: self.pattern(&every.value),
                block: self.block(&every.block),
            })),
            StepKind::Collect(collect) => {
                let kind = match &collect.kind {
                    CollectKind::Array => CollectKind::Array,
                    CollectKind::Set => CollectKind::Set,
                    CollectKind::Object { key } => CollectKind::Object { key: self.operand(key) },
                };
                let (block, value) = (self.block(&collect.block), self.operand(&collect.value));
                StepKind::Collect(Box::new(Collect { kind, block, value, out: collect.out }))
            }
            StepKind::With { mods, block, outs } => StepKind::With {
                mods: mods.iter().map(|modifier| self.modifier(modifier)).collect(),
                block: self.block(block),
                outs: outs.clone(),
            },
            // Any other kind is copied by [`Self::step`].
            _ => StepKind::Fail,
        }
    }

    fn base(&mut self, base: &Base) -> Base {
        match base {
            Base::Input => Base::Input,
            Base::Data => Base::Data,
            Base::Value(operand) => Base::Value(self.operand(operand)),
        }
    }

    fn key(&mut self, key: &Key) -> Key {
        match key {
            Key::Bound(operand) => Key::Bound(self.operand(operand)),
            Key::Free(pattern) => Key::Free(self.pattern(pattern)),
        }
    }

    fn modifier(&mut self, modifier: &WithMod) -> WithMod {
        let target = match &modifier.target {
            Target::Input(path) => Target::Input(path.clone()),
            Target::Data(path) => Target::Data(path.clone()),
            Target::Builtin(builtin) => Target::Builtin(builtin),
            Target::Function(set) => Target::Function(*set),
        };
        let value = match &modifier.value {
            Mock::Value(operand) => Mock::Value(self.operand(operand)),
            Mock::Callee(callee) => Mock::Callee(*callee),
        };
        WithMod { target, value }
    }
}

/// Whether a mark is within a constant.
fn holds_mark(value: &Value) -> bool {
    let is = |value: &Value| mark(value).is_some() || holds_mark(value);
    match value {
        Value::Array(items) => items.iter().any(is),
        Value::Set(items) => items.iter().any(is),
        Value::Object(members) => members.iter().any(|(key, value)| is(key) || is(value)),
        _ => false,
    }
}
