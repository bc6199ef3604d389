//! Finds the reads of a set. An expression that is not understood counts as a read of the whole value: a wrong guess
//! can make a replay uncertain, but not wrong.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, Import, Literal, LiteralStmt, Module, Ref, Rule, RuleBody, RuleHead};

use super::{Extent, Position, Reads, UnboundedRead};
use crate::names;
use crate::nodes::{Node, nodes};
use crate::question::{Place, Question, matches};
use crate::refs::{leading_path, reference};
use crate::schema::Step;
use crate::scope::{Scope, bound_once};

/// All reads of a set.
pub(crate) fn find(modules: &[Ref<Module>]) -> Reads {
    let functions: BTreeSet<String> = names::functions(modules);
    let (mut questions, mut free) = (BTreeMap::new(), Vec::new());
    // A rule that only names a place is followed where nothing but its own module can use it.
    let alone = modules.len() == 1 && !modules.iter().any(|module| names_data(module));
    for module in modules {
        let mut finder = Finder {
            scope: Scope::of(module),
            constants: constants(module),
            functions: &functions,
            claimed: vec![],
            questions: &mut questions,
            free: &mut free,
        };
        if alone {
            finder.claim_named_places(module);
        }
        if finder.scope.hides_an_import() {
            finder.read(Extent::Everything, &module.package.refr, module.package.span.line);
        }
        nodes(module, &mut |node| match node {
            Node::Statement(statement) => finder.statement(statement),
            Node::Expression(expr) => finder.expression(expr),
        });
    }
    Reads::new(questions, free)
}

struct Finder<'a> {
    scope: Scope,
    /// Rules of this module that only name a constant.
    constants: BTreeMap<String, Ref<Expr>>,
    functions: &'a BTreeSet<String>,
    /// Expressions that are accounted for, and still to come.
    claimed: Vec<*const Expr>,
    questions: &'a mut BTreeMap<Place, BTreeMap<Question, Position>>,
    free: &'a mut Vec<UnboundedRead>,
}

impl Finder<'_> {
    fn statement(&mut self, statement: &LiteralStmt) {
        // `with` may put another function in the place of one that asks.
        for with in &statement.with_mods {
            if self.scope.input_steps(&with.refr).is_none() {
                self.read(Extent::Everything, &with.refr, statement.span.line);
            }
        }
        // A text counts as true whatever it says.
        if let Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } = &statement.literal
            && self.target(expr).is_some()
        {
            self.claim(expr);
        }
    }

    fn expression(&mut self, expr: &Expr) {
        if let Some(at) = self.claimed.iter().position(|claimed| std::ptr::eq(*claimed, expr)) {
            self.claimed.swap_remove(at);
            return;
        }
        match expr {
            Expr::BoolExpr { op, lhs, rhs, .. } => self.comparison(op, lhs, rhs),
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => self.comparison(&BoolOp::Eq, lhs, rhs),
            // What a name bound once stands for is looked at wherever the name is used.
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. }
                if matches!(&**lhs, Expr::Var { .. })
                    && self.scope.input_steps(lhs).is_some()
                    && self.is_reference(rhs) =>
            {
                self.claim(lhs);
                self.claim(rhs);
            }
            Expr::Membership { key: None, value, collection, .. } => self.membership(value, collection),
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                let Some(steps) = self.scope.input_steps(expr) else { return };
                if let Some(extent) = extent(&steps) {
                    self.read(extent, expr, expr.span().line);
                }
                self.claim_below(expr);
            }
            _ => {}
        }
    }

    fn comparison(&mut self, op: &BoolOp, lhs: &Ref<Expr>, rhs: &Ref<Expr>) {
        let equality = matches!(op, BoolOp::Eq | BoolOp::Ne);
        for (asked, with) in [(lhs, rhs), (rhs, lhs)] {
            if equality
                && let Some(place) = self.target(asked)
                && let Some(constant) = self.constant(with, 0)
            {
                self.equal(&place, &constant, asked);
                self.claim(asked);
                return;
            }
            if let Some(counted) = self.counted(asked)
                && let Some(place) = self.target(counted)
                && let Expr::Number { span, .. } = &**with
                && let Ok(number) = span.text().parse::<i64>()
            {
                let mirrored = std::ptr::eq(asked, rhs);
                for count in thresholds(op, number, mirrored) {
                    self.ask(&place, Question::AtLeast(count), asked);
                }
                self.claimed.push(&raw const **asked);
                self.claim(counted);
                return;
            }
        }
    }

    fn equal(&mut self, place: &Place, constant: &Value, asked: &Expr) {
        // A text equals nothing but a text.
        if let Value::String(text) = constant {
            self.ask(place, Question::Equal(text.to_string()), asked);
        }
    }

    fn membership(&mut self, value: &Ref<Expr>, collection: &Ref<Expr>) {
        let (Some(place), Some(constant)) = (self.target(value), self.constant(collection, 0)) else {
            return;
        };
        match &constant {
            Value::Array(items) => items.iter().for_each(|item| self.equal(&place, item, value)),
            Value::Set(items) => items.iter().for_each(|item| self.equal(&place, item, value)),
            _ => return,
        }
        self.claim(value);
    }

    fn call(&mut self, fcn: &Ref<Expr>, params: &[Ref<Expr>]) {
        let (asked, with, question): (_, _, fn(String) -> Question) = match (self.builtin(fcn).as_str(), params) {
            ("contains", [asked, with]) => (asked, with, Question::Contains),
            ("endswith", [asked, with]) => (asked, with, Question::EndsWith),
            ("startswith", [asked, with]) => (asked, with, Question::StartsWith),
            ("regex.match", [with, asked]) => (asked, with, Question::Matches),
            _ => return,
        };
        let (Some(place), Some(Value::String(text))) = (self.target(asked), self.constant(with, 0)) else {
            return;
        };
        let question = question(text.to_string());
        if matches!(&question, Question::Matches(pattern) if matches(pattern, "").is_none()) {
            return;
        }
        self.ask(&place, question, asked);
        self.claim(asked);
    }

    /// The name of the builtin that is called; empty for a function of the set.
    fn builtin(&self, fcn: &Expr) -> String {
        let path = leading_path(fcn);
        if self.scope.is_own(&path, self.functions) { String::new() } else { path.join(".") }
    }

    /// What `count` counts.
    fn counted<'e>(&self, expr: &'e Expr) -> Option<&'e Ref<Expr>> {
        match expr {
            Expr::Call { fcn, params, .. } if self.builtin(fcn) == "count" => match params.as_slice() {
                [counted] => Some(counted),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text that an expression is, if a record may hide it.
    fn target(&self, expr: &Expr) -> Option<Place> {
        // A header, or in its absence a constant.
        if let Expr::Call { fcn, params, .. } = expr
            && let [within, key, default] = params.as_slice()
            && self.builtin(fcn) == "object.get"
            && self.scope.input_steps(within)? == [Step::Name("headers".to_owned())]
            && let Expr::String { value: Value::String(name), .. } = &**key
        {
            return self.constant(default, 0).map(|_| Place::Header(name.to_string()));
        }
        match extent(&self.scope.input_steps(expr)?) {
            Some(Extent::One(place)) => Some(place),
            _ => None,
        }
    }

    /// A reference into the input by names alone.
    fn is_reference(&self, expr: &Expr) -> bool {
        self.scope.input_steps(expr).is_some_and(|steps| steps.iter().all(|step| matches!(step, Step::Name(_))))
    }

    /// A value that stands in the policy.
    fn constant(&self, expr: &Expr, depth: u8) -> Option<Value> {
        let all =
            |items: &[Ref<Expr>]| items.iter().map(|item| self.constant(item, depth + 1)).collect::<Option<Vec<_>>>();
        match expr {
            Expr::String { value, .. }
            | Expr::RawString { value, .. }
            | Expr::Number { value, .. }
            | Expr::Bool { value, .. }
            | Expr::Null { value, .. } => Some(value.clone()),
            Expr::Array { items, .. } => Some(Value::from(all(items)?)),
            Expr::Set { items, .. } => Some(Value::from(all(items)?.into_iter().collect::<BTreeSet<_>>())),
            Expr::Var { value: Value::String(name), .. } if depth < 8 => {
                self.constant(self.constants.get(name.as_ref())?, depth + 1)
            }
            _ => None,
        }
    }

    fn ask(&mut self, place: &Place, question: Question, asked: &Expr) {
        let at = || at(asked, asked.span().line);
        self.questions.entry(place.clone()).or_default().entry(question).or_insert_with(at);
    }

    fn read(&mut self, of: Extent, expr: &Expr, line: u32) {
        let mut lines = BTreeSet::from([line, expr.span().line]);
        let mut inner = expr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = inner {
            inner = refr;
            lines.insert(inner.span().line);
        }
        self.free.push(UnboundedRead { of, at: at(expr, line), lines });
    }

    fn claim(&mut self, expr: &Expr) {
        self.claimed.push(expr);
        self.claim_below(expr);
        // `object.get`
        if let Expr::Call { params, .. } = expr {
            params.first().into_iter().for_each(|within| self.claim(within));
        }
    }

    /// The reference with which a longer one begins. Brackets are searched separately.
    fn claim_below(&mut self, expr: &Expr) {
        let mut inner = expr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = inner {
            inner = refr;
            self.claimed.push(inner);
        }
    }

    fn claim_named_places(&mut self, module: &Module) {
        for rule in &module.policy {
            let Rule::Spec { head: RuleHead::Compr { refr, assign: Some(assign), .. }, bodies, .. } = &**rule else {
                continue;
            };
            let plain = matches!(&**refr, Expr::Var { .. }) && reference(refr).is_some_and(|path| path != ["allow"]);
            if plain && always(bodies) && self.scope.input_steps(refr).is_some() && self.is_reference(&assign.value) {
                self.claim(refr);
                self.claim(&assign.value);
            }
        }
    }
}

fn at(expr: &Expr, line: u32) -> Position {
    Position { file: expr.span().source.file().clone(), line }
}

/// What is read of hidable values at `steps`.
fn extent(steps: &[Step]) -> Option<Extent> {
    match steps {
        [] | [Step::Any, ..] => Some(Extent::Everything),
        [Step::Name(root), rest @ ..] if root == "headers" => match rest {
            [Step::Name(name), ..] => Some(Extent::One(Place::Header(name.clone()))),
            _ => Some(Extent::Headers),
        },
        [Step::Name(root), ..] if root == "query" => Some(Extent::One(Place::Query)),
        _ => None,
    }
}

/// A comparison of a count as questions of the form "this or more".
fn thresholds(op: &BoolOp, number: i64, mirrored: bool) -> Vec<i64> {
    let next = number.saturating_add(1);
    match (op, mirrored) {
        (BoolOp::Lt | BoolOp::Ge, false) | (BoolOp::Gt | BoolOp::Le, true) => vec![number],
        (BoolOp::Le | BoolOp::Gt, false) | (BoolOp::Ge | BoolOp::Lt, true) => vec![next],
        (BoolOp::Eq | BoolOp::Ne, _) => vec![number, next],
    }
}

/// Rules that are defined once in their module, without a condition, and that no pattern hides.
fn constants(module: &Module) -> BTreeMap<String, Ref<Expr>> {
    let (mut bound, _) = bound_once(module);
    let named = module.policy.iter().filter_map(|rule| match &**rule {
        Rule::Spec { head: RuleHead::Compr { refr, assign: Some(_), .. }, bodies, .. } if always(bodies) => {
            reference(refr).filter(|path| path.len() == 1).and_then(|path| path.first().cloned())
        }
        _ => None,
    });
    let named: BTreeSet<String> = named.collect();
    bound.retain(|name, _| named.contains(name));
    let mut hide = |pattern: &Expr| names_in(pattern).iter().for_each(|name| drop(bound.remove(name)));
    for rule in &module.policy {
        if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = &**rule {
            args.iter().for_each(|argument| hide(argument));
        }
    }
    nodes(module, &mut |node| match node {
        Node::Statement(LiteralStmt { literal: Literal::SomeIn { key, value, .. }, .. }) => {
            key.iter().chain([value]).for_each(|pattern| hide(pattern));
        }
        Node::Expression(Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. }) => hide(lhs),
        _ => {}
    });
    bound
}

fn always(bodies: &[RuleBody]) -> bool {
    bodies.iter().all(|body| body.query.stmts.is_empty() && !body.is_else)
}

/// The variables of a pattern.
fn names_in(pattern: &Expr) -> Vec<String> {
    match pattern {
        Expr::Var { .. } => reference(pattern).unwrap_or_default(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().flat_map(|item| names_in(item)).collect(),
        Expr::Object { fields, .. } => fields.iter().flat_map(|(_, _, value)| names_in(value)).collect(),
        _ => vec![],
    }
}

/// Whether a module reaches rules by their full names.
fn names_data(module: &Module) -> bool {
    let imports = |import: &Import| leading_path(&import.refr).first().is_some_and(|root| root == "data");
    let mut found = module.imports.iter().any(imports);
    nodes(module, &mut |node| {
        if let Node::Expression(Expr::Var { value: Value::String(name), .. }) = node {
            found |= name.as_ref() == "data";
        }
    });
    found
}
