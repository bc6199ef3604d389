//! Residuals as Rego.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::support::{SupportHead, SupportRule};
use super::term::{Collection, Function, Literal, Order, Replacement, Root, Target, Term, Uses, Var};
use crate::builtins;
use crate::value::Value;

/// Words that cannot be names.
const KEYWORDS: &[&str] = &[
    "and", "as", "contains", "data", "default", "else", "every", "false", "if", "import", "in", "input", "not", "null",
    "or", "package", "some", "true", "with",
];

/// Writes one body with its head: variables are named in the order in which they appear.
pub(super) struct Printer<'p> {
    /// Names that a query gives.
    given: &'p BTreeMap<Var, Arc<str>>,
    prefix: &'p str,
    uses: Uses,
    names: BTreeMap<Var, usize>,
    out: String,
}

/// The literals of a query, one for each line.
pub(super) fn query(body: &[Literal], given: &BTreeMap<Var, Arc<str>>, prefix: &str) -> Vec<String> {
    let mut printer = Printer::new(given, prefix);
    body.iter().for_each(|literal| literal.uses(&mut printer.uses));
    body.iter()
        .map(|literal| {
            printer.literal(literal, "");
            std::mem::take(&mut printer.out)
        })
        .collect()
}

/// A literal by itself.
pub(super) fn expression(literal: &Literal) -> String {
    query(std::slice::from_ref(literal), &BTreeMap::new(), "v").concat()
}

/// A term by itself.
pub(super) fn reference(term: &Term) -> String {
    let given = BTreeMap::new();
    let mut printer = Printer::new(&given, "v");
    printer.term(term);
    printer.out
}

/// The modules of support rules: the path of the package and the text.
pub(super) fn modules(rules: &[SupportRule], prefix: &str) -> Vec<(Vec<Value>, String)> {
    let mut modules: Vec<(Vec<Value>, String)> = Vec::new();
    let given = BTreeMap::new();
    for rule in rules {
        let (package, name, keys) = split(&rule.path);
        let mut printer = Printer::new(&given, prefix);
        printer.rule(rule, name, keys);
        let text = printer.out;
        match modules.iter_mut().find(|(path, _)| *path == package) {
            Some((_, module)) => module.push_str(&text),
            None => {
                let mut module = String::from("package ");
                for (at, key) in package.iter().enumerate() {
                    let key = key.as_str().unwrap_or_default();
                    match (is_name(key), at) {
                        (true, 0) => module.push_str(key),
                        (true, _) => {
                            let _infallible = write!(module, ".{key}");
                        }
                        (false, _) => {
                            let _infallible = write!(module, "[{}]", Value::from(key));
                        }
                    }
                }
                module.push('\n');
                module.push_str(&text);
                modules.push((package, module));
            }
        }
    }
    modules
}

/// Package, name and further constant keys of a document.
fn split(path: &[Value]) -> (Vec<Value>, &str, &[Value]) {
    let strings = path.iter().take_while(|key| key.as_str().is_some()).count();
    let named = |at: &usize| path.get(*at).and_then(Value::as_str).is_some_and(is_name);
    let at = (1..strings).rev().find(named).unwrap_or(0);
    let name = path.get(at).and_then(Value::as_str).unwrap_or_default();
    (path.get(..at).unwrap_or_default().to_vec(), name, path.get(at + 1..).unwrap_or_default())
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
        && text != "_"
        && !KEYWORDS.contains(&text)
}

impl<'p> Printer<'p> {
    fn new(given: &'p BTreeMap<Var, Arc<str>>, prefix: &'p str) -> Printer<'p> {
        Printer { given, prefix, uses: Uses::new(), names: BTreeMap::new(), out: String::new() }
    }

    fn rule(&mut self, rule: &SupportRule, name: &str, keys: &[Value]) {
        for (body, value) in &rule.branches {
            body.iter().for_each(|literal| literal.uses(&mut self.uses));
            value.uses(&mut self.uses);
        }
        rule.keys.iter().for_each(|key| key.uses(&mut self.uses));
        if let SupportHead::Function(parameters) = &rule.head {
            parameters.iter().for_each(|var| *self.uses.entry(*var).or_default() += 1);
        }
        self.out.push('\n');
        if rule.default {
            self.out.push_str("default ");
        }
        self.out.push_str(name);
        keys.iter().for_each(|key| self.key(&Term::Const(key.clone())));
        rule.keys.iter().for_each(|key| self.key(key));
        if let SupportHead::Function(parameters) = &rule.head {
            let parameters: Vec<Term> = parameters.iter().map(|var| Term::Var(*var)).collect();
            self.list("(", &parameters, ")");
        }
        for (at, (body, value)) in rule.branches.iter().enumerate() {
            if at > 0 {
                self.out.push_str(" else");
            }
            let is_true = *value == Term::Const(Value::Bool(true)) && !body.is_empty();
            match rule.head {
                SupportHead::Element => self.out.push_str(" contains "),
                _ if is_true => {}
                _ => self.out.push_str(" := "),
            }
            if !is_true || rule.head == SupportHead::Element {
                self.term(value);
            }
            if !body.is_empty() {
                self.out.push_str(" if {\n");
                self.lines(body, "\t");
                self.out.push('}');
            }
        }
        self.out.push('\n');
    }

    fn lines(&mut self, body: &[Literal], indent: &str) {
        for literal in body {
            self.out.push_str(indent);
            self.literal(literal, indent);
            self.out.push('\n');
        }
    }

    fn literal(&mut self, literal: &Literal, indent: &str) {
        match literal {
            Literal::Defined(term) => {
                self.term(term);
                self.out.push_str(" = _");
            }
            Literal::Truthy(term) => self.term(term),
            Literal::Equal(left, right) => self.equal(left, right),
            Literal::Compare(order, left, right) => {
                self.term(left);
                let _infallible = write!(self.out, " {} ", order.symbol());
                self.term(right);
            }
            Literal::Call(function, arguments, result) => self.call(function, arguments, result.as_ref()),
            Literal::Member { key, value, collection, result } => {
                if let Some(result) = result {
                    self.term(result);
                    self.out.push_str(" = (");
                }
                if let Some(key) = key {
                    self.term(key);
                    self.out.push_str(", ");
                }
                self.term(value);
                self.out.push_str(" in ");
                self.term(collection);
                if result.is_some() {
                    self.out.push(')');
                }
            }
            Literal::Not(inner) => {
                self.out.push_str("not ");
                self.literal(inner, indent);
            }
            Literal::Every { key, value, domain, body } => {
                self.out.push_str("every ");
                if let Some(key) = key {
                    self.var(*key);
                    self.out.push_str(", ");
                }
                self.var(*value);
                self.out.push_str(" in ");
                self.term(domain);
                self.out.push_str(" {\n");
                let deeper = format!("{indent}\t");
                if body.is_empty() {
                    let _infallible = writeln!(self.out, "{deeper}true");
                }
                self.lines(body, &deeper);
                self.out.push_str(indent);
                self.out.push('}');
            }
            Literal::With(body, modifiers) => {
                for (at, inner) in body.iter().enumerate() {
                    if at > 0 {
                        self.out.push('\n');
                        self.out.push_str(indent);
                    }
                    self.literal(inner, indent);
                    self.modifiers(modifiers);
                }
            }
            Literal::Never => self.out.push_str("not true"),
        }
    }

    fn modifiers(&mut self, modifiers: &[(Target, Replacement)]) {
        for (target, by) in modifiers {
            self.out.push_str(" with ");
            match target {
                Target::Input(path) => self.path("input", path),
                Target::Data(path) => self.path("data", path),
                Target::Function(function) => self.function(function),
            }
            self.out.push_str(" as ");
            match by {
                Replacement::Term(term) => self.term(term),
                Replacement::Function(function) => self.function(function),
            }
        }
    }

    /// A reference or variable first; a brace could begin a body.
    fn equal(&mut self, left: &Term, right: &Term) {
        let swaps = matches!(left, Term::Const(_) | Term::Object(_) | Term::Set(_))
            && !matches!(right, Term::Const(_) | Term::Object(_) | Term::Set(_));
        let (left, right) = if swaps { (right, left) } else { (left, right) };
        self.term(left);
        self.out.push_str(" = ");
        self.term(right);
    }

    fn call(&mut self, function: &Function, arguments: &[Term], result: Option<&Term>) {
        let infix = match function {
            Function::Builtin(name) => builtins::signature(name).and_then(|signature| signature.infix.as_deref()),
            Function::Rule(_) => None,
        };
        let is_walk = *function == Function::Builtin("walk");
        if let Some(result) = result.filter(|_| !is_walk) {
            self.term(result);
            self.out.push_str(" = ");
        }
        match (infix, arguments) {
            (Some(infix), [left, right]) => {
                self.term(left);
                let _infallible = write!(self.out, " {infix} ");
                self.term(right);
            }
            _ => {
                self.function(function);
                let all: Vec<Term> = arguments.iter().chain(result.filter(|_| is_walk)).cloned().collect();
                self.list("(", &all, ")");
            }
        }
    }

    fn function(&mut self, function: &Function) {
        match function {
            Function::Builtin(name) => self.out.push_str(name),
            Function::Rule(path) => self.path("data", path),
        }
    }

    fn path(&mut self, root: &str, path: &[Value]) {
        self.out.push_str(root);
        path.iter().for_each(|key| self.key(&Term::Const(key.clone())));
    }

    fn var(&mut self, var: Var) {
        if let Some(name) = self.given.get(&var) {
            self.out.push_str(name);
            return;
        }
        if self.uses.get(&var).copied().unwrap_or_default() < 2 {
            self.out.push('_');
            return;
        }
        let next = self.names.len() + 1;
        let number = *self.names.entry(var).or_insert(next);
        let _infallible = write!(self.out, "{}{number}", self.prefix);
    }

    fn key(&mut self, key: &Term) {
        match key {
            Term::Const(Value::String(name)) if is_name(name) => {
                let _infallible = write!(self.out, ".{name}");
            }
            _ => {
                self.out.push('[');
                self.term(key);
                self.out.push(']');
            }
        }
    }

    fn list(&mut self, open: &str, items: &[Term], close: &str) {
        self.out.push_str(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            self.term(item);
        }
        self.out.push_str(close);
    }

    fn term(&mut self, term: &Term) {
        match term {
            Term::Const(value) => {
                let _infallible = write!(self.out, "{value}");
            }
            Term::Var(var) => self.var(*var),
            Term::Ref(root, keys) => {
                match root {
                    Root::Input => self.out.push_str("input"),
                    Root::Data => self.out.push_str("data"),
                    Root::Var(var) => self.var(*var),
                }
                keys.iter().for_each(|key| self.key(key));
            }
            Term::Array(items) => self.list("[", items, "]"),
            Term::Set(items) => self.list("{", items, "}"),
            Term::Object(members) => {
                self.out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.term(key);
                    self.out.push_str(": ");
                    self.term(value);
                }
                self.out.push('}');
            }
            Term::Comprehension(inner) => {
                self.out.push(if inner.kind == Collection::Array { '[' } else { '{' });
                if let Some(key) = &inner.key {
                    self.term(key);
                    self.out.push_str(": ");
                }
                self.term(&inner.value);
                self.out.push_str(" |");
                if inner.body.is_empty() {
                    self.out.push_str(" true");
                }
                for (at, literal) in inner.body.iter().enumerate() {
                    self.out.push_str(if at == 0 { " " } else { "; " });
                    self.literal(literal, "\t");
                }
                self.out.push(if inner.kind == Collection::Array { ']' } else { '}' });
            }
        }
    }
}

impl Order {
    /// The operator as written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Order::NotEqual => "!=",
            Order::Less => "<",
            Order::LessEqual => "<=",
            Order::Greater => ">",
            Order::GreaterEqual => ">=",
        }
    }
}
