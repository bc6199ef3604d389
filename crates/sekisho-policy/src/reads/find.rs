//! Finds the reads of a set. An expression that is not understood counts as a read of the whole value: a wrong guess
//! can make a replay uncertain, but not wrong.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_rego::syntax::ast::{Expr, ExprKind, HeadKind, InfixOp, Module, Span, Term, TermKind, With};
use sekisho_rego::value::{Set, Value};

use super::{Extent, Position, Reads, UnboundedRead};
use crate::nodes::{Distinct, Node, nodes, rule_nodes};
use crate::question::{Place, Question, matches};
use crate::refs::{function_name, head_name, leading_path, only_value, root};
use crate::schema::Step;
use crate::scope::Scope;

/// All reads of a set.
pub(crate) fn find<'m>(
    modules: &'m [Module],
    distinct: &[Distinct<'m>],
    scopes: &[Scope<'m>],
    functions: &BTreeSet<String>,
) -> Reads {
    let (mut questions, mut free) = (BTreeMap::new(), Vec::new());
    // A rule that only names a place is followed where nothing but its own module can use it.
    let alone = modules.len() == 1 && !modules.iter().zip(distinct).any(names_data);
    for (number, ((module, scope), distinct)) in modules.iter().zip(scopes).zip(distinct).enumerate() {
        let mut finder = Finder {
            scope,
            number,
            constants: constants(scope, distinct),
            functions,
            claimed: vec![],
            questions: &mut questions,
            free: &mut free,
        };
        if alone {
            finder.claim_named_places(distinct);
        }
        if finder.scope.hides_an_import() {
            let whole = u32::try_from(module.source.text.len()).unwrap_or(u32::MAX);
            finder.read(Extent::Everything, Span { start: 0, end: whole, ..module.package.span });
        }
        nodes(module, &mut |node| match node {
            Node::Statement(statement) => finder.statement(statement),
            Node::Term(term) => finder.term(term),
            Node::With(with, span) => finder.modifier(with, span),
        });
    }
    Reads::new(questions, free)
}

struct Finder<'a, 'm> {
    scope: &'a Scope<'m>,
    /// The number of the module.
    number: usize,
    /// Rules of this module that only name a constant.
    constants: BTreeMap<String, &'m Term>,
    functions: &'a BTreeSet<String>,
    /// Terms that are accounted for, and still to come.
    claimed: Vec<*const Term>,
    questions: &'a mut BTreeMap<Place, BTreeMap<Question, Position>>,
    free: &'a mut Vec<UnboundedRead>,
}

impl Finder<'_, '_> {
    /// `with` may put another function in the place of one that asks.
    fn modifier(&mut self, with: &With, span: Span) {
        if self.scope.input_steps(&with.target).is_none() {
            self.read(Extent::Everything, span);
        }
    }

    fn statement(&mut self, statement: &Expr) {
        match &statement.kind {
            // A text counts as true whatever it says.
            ExprKind::Term(term) if self.target(term).is_some() => self.claim(term),
            ExprKind::Unify(left, right) => self.comparison(InfixOp::Equal, left, right),
            // What a name bound once stands for is looked at wherever the name is used.
            ExprKind::Assign(left, right)
                if left.as_var().is_some() && self.scope.input_steps(left).is_some() && self.is_reference(right) =>
            {
                self.claim(left);
                self.claim(right);
            }
            _ => {}
        }
    }

    fn term(&mut self, term: &Term) {
        if let Some(at) = self.claimed.iter().position(|claimed| std::ptr::eq(*claimed, term)) {
            self.claimed.swap_remove(at);
            return;
        }
        match &term.kind {
            TermKind::Infix { op, left, right, .. } => self.comparison(*op, left, right),
            TermKind::In { key: None, value, collection } => self.membership(value, collection),
            TermKind::Call { function, arguments } => self.call(function, arguments),
            TermKind::Var(_) | TermKind::Ref { .. } => {
                let Some(steps) = self.scope.input_steps(term) else { return };
                if let Some(extent) = extent(&steps) {
                    self.read(extent, term.span);
                }
            }
            _ => {}
        }
    }

    fn comparison(&mut self, op: InfixOp, left: &Term, right: &Term) {
        let equality = matches!(op, InfixOp::Equal | InfixOp::NotEqual);
        for (asked, with, mirrored) in [(left, right, false), (right, left, true)] {
            if equality
                && let Some(place) = self.target(asked)
                && let Some(constant) = self.constant(with, 0)
            {
                self.equal(&place, &constant, asked);
                self.claim(asked);
                return;
            }
            if let Some(counts) = thresholds_of(op, with, mirrored)
                && let Some(counted) = self.counted(asked)
                && let Some(place) = self.target(counted)
            {
                for count in counts {
                    self.ask(&place, Question::AtLeast(count), asked);
                }
                self.claimed.push(&raw const *asked);
                self.claim(counted);
                return;
            }
        }
    }

    fn equal(&mut self, place: &Place, constant: &Value, asked: &Term) {
        // A text equals nothing but a text.
        if let Value::String(text) = constant {
            self.ask(place, Question::Equal(text.to_string()), asked);
        }
    }

    fn membership(&mut self, value: &Term, collection: &Term) {
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

    fn call(&mut self, function: &Term, arguments: &[Term]) {
        let (asked, with, question): (_, _, fn(String) -> Question) = match (&*function_name(function), arguments) {
            ("contains", [asked, with]) => (asked, with, Question::Contains),
            ("endswith", [asked, with]) => (asked, with, Question::EndsWith),
            ("startswith", [asked, with]) => (asked, with, Question::StartsWith),
            ("regex.match", [with, asked]) => (asked, with, Question::Matches),
            _ => return,
        };
        if self.scope.is_own(&leading_path(function), self.functions) {
            return;
        }
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

    /// Whether it is the builtin of this name that is called, and no function of the set.
    fn is_builtin(&self, function: &Term, name: &str) -> bool {
        function_name(function) == name && !self.scope.is_own(&leading_path(function), self.functions)
    }

    /// What `count` counts.
    fn counted<'e>(&self, term: &'e Term) -> Option<&'e Term> {
        match &term.kind {
            TermKind::Call { function, arguments } if self.is_builtin(function, "count") => {
                match arguments.as_slice() {
                    [counted] => Some(counted),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The text that a term is, if a record may hide it.
    fn target(&self, term: &Term) -> Option<Place> {
        // A header, or in its absence a constant.
        if let TermKind::Call { function, arguments } = &term.kind
            && let [within, key, default] = arguments.as_slice()
            && self.is_builtin(function, "object.get")
            && *self.scope.input_steps(within)? == [Step::Name("headers".to_owned())]
            && let Some(name) = key.as_str()
        {
            return self.constant(default, 0).map(|_| Place::Header(name.to_string()));
        }
        match extent(&self.scope.input_steps(term)?) {
            Some(Extent::One(place)) => Some(place),
            _ => None,
        }
    }

    /// A reference into the input by names alone.
    fn is_reference(&self, term: &Term) -> bool {
        self.scope.input_steps(term).is_some_and(|steps| steps.iter().all(|step| matches!(step, Step::Name(_))))
    }

    /// A value that stands in the policy.
    fn constant(&self, term: &Term, depth: u8) -> Option<Value> {
        let all = |items: &[Term]| items.iter().map(|item| self.constant(item, depth + 1)).collect::<Option<Vec<_>>>();
        match &term.kind {
            TermKind::String { value, .. } => Some(Value::String(value.clone())),
            TermKind::Number(text) => sekisho_rego::value::Number::parse(text).map(Value::Number),
            TermKind::Bool(value) => Some(Value::Bool(*value)),
            TermKind::Null => Some(Value::Null),
            TermKind::Array(items) => Some(Value::from(all(items)?)),
            TermKind::Set(items) => Some(Value::from(Set::from_vec(all(items)?))),
            TermKind::Var(name) if depth < 8 => self.constant(self.constants.get(&**name)?, depth + 1),
            _ => None,
        }
    }

    fn ask(&mut self, place: &Place, question: Question, asked: &Term) {
        let at = self.at(asked.span);
        self.questions.entry(place.clone()).or_default().entry(question).or_insert(at);
    }

    fn read(&mut self, of: Extent, span: Span) {
        self.free.push(UnboundedRead { of, at: self.at(span), module: self.number, span });
    }

    fn at(&self, span: Span) -> Position {
        Position { file: self.scope.module.source.file.to_string(), line: span.line }
    }

    fn claim(&mut self, term: &Term) {
        self.claimed.push(term);
        // `object.get`
        if let TermKind::Call { arguments, .. } = &term.kind {
            arguments.first().into_iter().for_each(|within| self.claim(within));
        }
    }

    fn claim_named_places(&mut self, distinct: &Distinct<'_>) {
        for rule in distinct.rules() {
            let (Some(name), Some(value)) = (head_name(&rule.head), only_value(rule)) else { continue };
            if name != "allow" && self.scope.place(name).is_some() && self.is_reference(value) {
                self.claim(value);
            }
        }
    }
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

/// A comparison of a count with a number as questions of the form "this or more".
fn thresholds_of(op: InfixOp, with: &Term, mirrored: bool) -> Option<Vec<i64>> {
    let TermKind::Number(text) = &with.kind else { return None };
    let number = text.parse::<i64>().ok()?;
    let next = number.saturating_add(1);
    Some(match (op, mirrored) {
        (InfixOp::Less | InfixOp::GreaterEqual, false) | (InfixOp::Greater | InfixOp::LessEqual, true) => vec![number],
        (InfixOp::LessEqual | InfixOp::Greater, false) | (InfixOp::GreaterEqual | InfixOp::Less, true) => vec![next],
        (InfixOp::Equal | InfixOp::NotEqual, _) => vec![number, next],
        _ => return None,
    })
}

/// Rules that are defined once in their module, without a condition, and that no pattern hides.
fn constants<'m>(scope: &Scope<'m>, distinct: &Distinct<'m>) -> BTreeMap<String, &'m Term> {
    let mut bound = scope.values.clone();
    let named = distinct.rules().filter_map(|rule| only_value(rule).and_then(|_| head_name(&rule.head)));
    let named: BTreeSet<&str> = named.collect();
    bound.retain(|name, _| named.contains(name.as_str()));
    let mut hide = |pattern: &Term| {
        names_in(pattern).iter().for_each(|name| {
            bound.remove(name);
        });
    };
    for rule in distinct.rules() {
        if let HeadKind::Function { parameters, .. } = &rule.head.kind {
            parameters.iter().for_each(&mut hide);
        }
    }
    let mut see = |node: Node<'m>| match node {
        Node::Statement(Expr { kind: ExprKind::SomeIn { key, value, .. }, .. }) => {
            key.iter().chain([value]).for_each(|pattern| hide(pattern));
        }
        Node::Statement(Expr { kind: ExprKind::Assign(left, _), .. }) => hide(left),
        _ => {}
    };
    distinct.rules().for_each(|rule| rule_nodes(rule, &mut see));
    bound
}

/// The variables of a pattern.
fn names_in(pattern: &Term) -> Vec<String> {
    match &pattern.kind {
        TermKind::Var(name) => vec![name.to_string()],
        TermKind::Array(items) | TermKind::Set(items) => items.iter().flat_map(names_in).collect(),
        TermKind::Object(members) => members.iter().flat_map(|(_, value)| names_in(value)).collect(),
        _ => vec![],
    }
}

/// Whether a module reaches rules by their full names.
fn names_data((module, distinct): (&Module, &Distinct<'_>)) -> bool {
    let is_data = |term: &Term| root(term) == Some("data");
    let imports =
        |import: &sekisho_rego::syntax::ast::Import| import.path.first().is_some_and(|root| &*root.text == "data");
    let mut found = module.imports.iter().any(imports);
    let mut see = |node: Node<'_>| {
        if let Node::Term(term) = node {
            found |= is_data(term) || matches!(&term.kind, TermKind::Call { function, .. } if is_data(function));
        }
    };
    distinct.rules().for_each(|rule| rule_nodes(rule, &mut see));
    found
}
