//! Names and terms: from syntax to the form between.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::core::{Comprehension, Head, Kind, Literal, LiteralKind, Term, Var};
use super::registry::{Global, Registry, scalar};
use super::shared::{Place, ProgramError};
use super::step::Callee;
use crate::builtins;
use crate::syntax::ast::{self, ExprKind, Span, TemplatePart, TermKind};
use crate::syntax::metadata::Chains;
use crate::value::{Object, Set, Value};

/// Lowers the terms and expressions of one rule or query.
pub(super) struct Lowerer<'a> {
    pub(super) registry: &'a Registry,
    pub(super) globals: &'a BTreeMap<Arc<str>, Global>,
    pub(super) file: Arc<str>,
    /// The names each open scope declares: the variable, and whether its declaration has been passed.
    scopes: Vec<HashMap<Arc<str>, (Var, bool)>>,
    pub(super) free: BTreeMap<Arc<str>, Var>,
    /// By variable; generated ones have no name.
    pub(super) names: Vec<Option<Arc<str>>>,
    pub(super) metadata: Option<Metadata<'a>>,
    /// The values in place of constants, by their places, while a template is made.
    pub(super) marks: HashMap<Span, Value>,
}

/// Which branch of which rule is lowered, for what metadata says of it.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a> {
    pub(super) chains: &'a Chains<'a>,
    pub(super) module: usize,
    pub(super) rule: usize,
    pub(super) branch: usize,
}

pub(super) type Lowered<T> = Result<T, ProgramError>;

impl<'a> Lowerer<'a> {
    pub(super) fn new(registry: &'a Registry, globals: &'a BTreeMap<Arc<str>, Global>, file: Arc<str>) -> Lowerer<'a> {
        let (scopes, free, names) = (Vec::new(), BTreeMap::new(), Vec::new());
        Lowerer { registry, globals, file, scopes, free, names, metadata: None, marks: HashMap::new() }
    }

    pub(super) fn fail<T>(&self, code: &'static str, message: impl Into<String>, span: Span) -> Lowered<T> {
        let place = Place { file: self.file.clone(), line: span.line, column: span.column };
        Err(ProgramError { code, message: message.into(), place })
    }

    pub(super) fn fresh(&mut self, name: Option<Arc<str>>) -> Var {
        let var = Var::try_from(self.names.len()).unwrap_or(Var::MAX);
        self.names.push(name);
        var
    }

    /// Opens a scope that declares these names further on.
    pub(super) fn open(&mut self, names: Vec<Arc<str>>) {
        let mut scope = HashMap::new();
        for name in names {
            let var = self.fresh(Some(name.clone()));
            scope.insert(name, (var, false));
        }
        self.scopes.push(scope);
    }

    /// Passes the declaration of names in the innermost scope.
    pub(super) fn declare(&mut self, names: &[Arc<str>]) {
        let Some(scope) = self.scopes.last_mut() else { return };
        for name in names {
            if let Some(entry) = scope.get_mut(name) {
                entry.1 = true;
            }
        }
    }

    pub(super) fn close(&mut self) -> HashMap<Arc<str>, (Var, bool)> {
        self.scopes.pop().unwrap_or_default()
    }

    fn declared(&self, name: &str) -> Option<Var> {
        let found =
            |scope: &HashMap<Arc<str>, (Var, bool)>| scope.get(name).filter(|entry| entry.1).map(|entry| entry.0);
        self.scopes.iter().rev().find_map(found)
    }

    /// A name in a term: a declared variable, a rule or an import, `input`, `data`, or else a free variable.
    pub(super) fn name(&mut self, name: &Arc<str>) -> Term {
        if let Some(var) = self.declared(name) {
            return Term::Var(var);
        }
        let path = |keys: &[Value]| keys.iter().cloned().map(Term::Const).collect();
        let hidden = self.scopes.iter().any(|scope| scope.contains_key(name));
        match (self.globals.get(name).filter(|_| !hidden), &**name) {
            (Some(Global::Data(keys)), _) => return Term::Ref(Head::Data, path(keys)),
            (Some(Global::Input(keys)), _) => return Term::Ref(Head::Input, path(keys)),
            (None, "input") => return Term::Ref(Head::Input, Vec::new()),
            (None, "data") => return Term::Ref(Head::Data, Vec::new()),
            _ => {}
        }
        if let Some(var) = self.free.get(name) {
            return Term::Var(*var);
        }
        let var = self.fresh(Some(name.clone()));
        self.free.insert(name.clone(), var);
        Term::Var(var)
    }

    pub(super) fn terms(&mut self, terms: &[ast::Term], out: &mut Vec<Literal>) -> Lowered<Vec<Term>> {
        terms.iter().map(|term| self.term(term, out)).collect()
    }

    /// Lowers a term; what has to be evaluated before it goes to `out`.
    pub(super) fn term(&mut self, term: &ast::Term, out: &mut Vec<Literal>) -> Lowered<Term> {
        if let Some(value) = scalar(term) {
            let mark = if self.marks.is_empty() { None } else { self.marks.get(&term.span) };
            return Ok(Term::Const(mark.cloned().unwrap_or(value)));
        }
        match &term.kind {
            TermKind::Null | TermKind::Bool(_) | TermKind::Number(_) | TermKind::String { .. } => {
                self.fail("rego_parse_error", "the number is out of bounds", term.span)
            }
            TermKind::Var(name) => Ok(self.name(name)),
            TermKind::Wildcard(_) => Ok(Term::Var(self.fresh(Some("_".into())))),
            TermKind::Ref { head, path } => self.reference(head, path, out),
            TermKind::Array(items) => Ok(fold_array(self.terms(items, out)?)),
            TermKind::Set(items) => Ok(fold_set(self.terms(items, out)?)),
            TermKind::Object(members) => {
                let mut lowered = Vec::with_capacity(members.len());
                for (key, value) in members {
                    lowered.push((self.term(key, out)?, self.term(value, out)?));
                }
                Ok(fold_object(lowered))
            }
            TermKind::ArrayComprehension { head, body } => self.comprehension(Kind::Array, None, head, body, term.span),
            TermKind::SetComprehension { head, body } => self.comprehension(Kind::Set, None, head, body, term.span),
            TermKind::ObjectComprehension { key, value, body } => {
                self.comprehension(Kind::Object, Some(key), value, body, term.span)
            }
            TermKind::Template { parts, .. } => self.template(parts, term.span, out),
            _ => match self.metadata_call(term) {
                Some(value) => Ok(Term::Const(value)),
                None => self.call_term(term, out),
            },
        }
    }

    /// The value of `rego.metadata.chain()` or `rego.metadata.rule()`.
    pub(super) fn metadata_call(&self, term: &ast::Term) -> Option<Value> {
        let TermKind::Call { function, arguments } = &term.kind else { return None };
        let Metadata { chains, module, rule, branch } = self.metadata?;
        match &*function.dotted().filter(|_| arguments.is_empty())? {
            "rego.metadata.chain" => Some(chains.chain(module, rule, branch)),
            "rego.metadata.rule" => Some(chains.rule(module, rule, branch)),
            _ => None,
        }
    }

    /// A term that is a call in some form: its result is a variable.
    fn call_term(&mut self, term: &ast::Term, out: &mut Vec<Literal>) -> Lowered<Term> {
        let mut kind = self.call(term, out)?;
        let result = Term::Var(self.fresh(None));
        match &mut kind {
            LiteralKind::Call { result: place, .. } | LiteralKind::Member { result: place, .. } => {
                if place.is_some() {
                    return self.fail("rego_type_error", "too many arguments", term.span);
                }
                *place = Some(result.clone());
            }
            _ => {}
        }
        out.push(literal(kind, term.span));
        Ok(result)
    }

    /// A call in some form without a place for its result, but where the last argument is one.
    pub(super) fn call(&mut self, term: &ast::Term, out: &mut Vec<Literal>) -> Lowered<LiteralKind> {
        let (callee, mut arguments) = match &term.kind {
            TermKind::Call { function, arguments } => (self.callee(function)?, self.terms(arguments, out)?),
            TermKind::Infix { op, left, right, .. } => {
                (self.builtin(op.builtin(), term.span)?, vec![self.term(left, out)?, self.term(right, out)?])
            }
            TermKind::Minus(operand) => {
                (self.builtin("minus", term.span)?, vec![Term::Const(Value::from(0_i64)), self.term(operand, out)?])
            }
            TermKind::In { key, value, collection } => {
                let key = key.as_ref().map(|key| self.term(key, out)).transpose()?;
                let (value, collection) = (self.term(value, out)?, self.term(collection, out)?);
                return Ok(LiteralKind::Member { key, value, collection, result: None });
            }
            _ => return self.fail("rego_compile_error", "a call is expected", term.span),
        };
        let arity = self.registry.arity(callee);
        let result = if arguments.len() == arity + 1 { arguments.pop() } else { None };
        Ok(LiteralKind::Call { callee, arguments, result })
    }

    fn builtin(&self, name: &str, span: Span) -> Lowered<Callee> {
        match builtins::lookup(name) {
            Some(builtin) => Ok(Callee::Builtin(builtin)),
            None => self.fail("rego_type_error", format!("undefined function {name}"), span),
        }
    }

    /// The function a term names.
    pub(super) fn callee(&self, function: &ast::Term) -> Lowered<Callee> {
        match self.find_callee(function) {
            Some(found) => Ok(found),
            None => {
                let name = function.dotted().unwrap_or_default();
                self.fail("rego_type_error", format!("undefined function {name}"), function.span)
            }
        }
    }

    pub(super) fn find_callee(&self, function: &ast::Term) -> Option<Callee> {
        let names = function.static_path()?;
        let (first, rest) = names.split_first()?;
        let rest = rest.iter().map(|name| Value::from(&**name));
        let path: Vec<Value> = match self.globals.get(first) {
            Some(Global::Data(path)) => path.iter().cloned().chain(rest).collect(),
            Some(Global::Input(_)) => return None,
            None if &**first == "data" => rest.collect(),
            None => return builtins::lookup(&names.join(".")).map(Callee::Builtin),
        };
        self.registry.function(&path)
    }

    fn reference(&mut self, head: &ast::Term, path: &[ast::RefPart], out: &mut Vec<Literal>) -> Lowered<Term> {
        let start = self.term(head, out)?;
        let mut keys = Vec::with_capacity(path.len());
        for part in path {
            keys.push(self.term(&part.term, out)?);
        }
        Ok(self.extend(start, keys, head.span, out))
    }

    /// A reference that goes on from a term.
    pub(super) fn extend(&mut self, start: Term, keys: Vec<Term>, span: Span, out: &mut Vec<Literal>) -> Term {
        match start {
            Term::Ref(head, mut path) => {
                path.extend(keys);
                Term::Ref(head, path)
            }
            Term::Var(var) => Term::Ref(Head::Var(var), keys),
            other => {
                let var = self.fresh(None);
                let kind = LiteralKind::Equal { left: Term::Var(var), right: other, assign: false };
                out.push(literal(kind, span));
                Term::Ref(Head::Var(var), keys)
            }
        }
    }

    fn comprehension(
        &mut self,
        kind: Kind,
        key: Option<&ast::Term>,
        value: &ast::Term,
        body: &ast::Body,
        span: Span,
    ) -> Lowered<Term> {
        let mut literals = Vec::new();
        self.open(declared_names(body));
        self.exprs(body, &mut literals)?;
        let key = key.map(|key| self.term(key, &mut literals)).transpose()?;
        let value = self.term(value, &mut literals)?;
        self.close();
        Ok(Term::Comprehension(Rc::new(Comprehension { kind, key, value, body: literals, span })))
    }

    /// Texts, and for each expression the set of its values: empty where it is undefined.
    fn template(&mut self, parts: &[TemplatePart], span: Span, out: &mut Vec<Literal>) -> Lowered<Term> {
        let mut items = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                TemplatePart::Text(text) => items.push(Term::Const(Value::String(text.clone()))),
                TemplatePart::Expr(expr) => items.push(self.template_part(expr)?),
            }
        }
        let callee = self.builtin("internal.template_string", span)?;
        let result = Term::Var(self.fresh(None));
        let kind = LiteralKind::Call { callee, arguments: vec![fold_array(items)], result: Some(result.clone()) };
        out.push(literal(kind, span));
        Ok(result)
    }

    fn template_part(&mut self, expr: &ast::Expr) -> Lowered<Term> {
        match &expr.kind {
            ExprKind::Term(term) => self.captured(term, &expr.with),
            _ => self.fail("rego_compile_error", "a template holds terms only", expr.span),
        }
    }

    /// The set of the values of a term: empty where it is undefined.
    pub(super) fn captured(&mut self, term: &ast::Term, with: &[ast::With]) -> Lowered<Term> {
        let span = term.span;
        let mut literals = Vec::new();
        self.open(Vec::new());
        let value = Term::Var(self.fresh(None));
        let with = self.modifiers(with, &mut literals)?;
        let start = literals.len();
        let right = self.term(term, &mut literals)?;
        literals.push(literal(LiteralKind::Equal { left: value.clone(), right, assign: false }, span));
        for literal in literals.iter_mut().skip(start) {
            literal.with.clone_from(&with);
        }
        self.close();
        let comprehension = Comprehension { kind: Kind::Set, key: None, value, body: literals, span };
        Ok(Term::Comprehension(Rc::new(comprehension)))
    }
}

pub(super) fn literal(kind: LiteralKind, span: Span) -> Literal {
    Literal { kind, negated: false, with: None, span }
}

fn constants(items: &[Term]) -> Option<Vec<Value>> {
    let constant = |term: &Term| match term {
        Term::Const(value) => Some(value.clone()),
        _ => None,
    };
    items.iter().map(constant).collect()
}

fn fold_array(items: Vec<Term>) -> Term {
    constants(&items).map_or_else(|| Term::Array(items), |values| Term::Const(Value::from(values)))
}

fn fold_set(items: Vec<Term>) -> Term {
    constants(&items).map_or_else(|| Term::Set(items), |values| Term::Const(Value::Set(Set::from_vec(values))))
}

fn fold_object(members: Vec<(Term, Term)>) -> Term {
    let constant = |(key, value): &(Term, Term)| match (key, value) {
        (Term::Const(key), Term::Const(value)) => Some((key.clone(), value.clone())),
        _ => None,
    };
    let folded: Option<Vec<_>> = members.iter().map(constant).collect();
    folded.map_or_else(|| Term::Object(members), |found| Term::Const(Value::Object(Object::from_vec(found))))
}

/// The names a body declares: by `:=`, `some` and `some … in`.
pub(super) fn declared_names(body: &ast::Body) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for expr in &body.exprs {
        match &expr.kind {
            ExprKind::Assign(left, _) => pattern_names(left, &mut names),
            ExprKind::Some(vars) => vars.iter().for_each(|var| pattern_names(var, &mut names)),
            ExprKind::SomeIn { key, value, .. } => {
                key.iter().chain([value]).for_each(|term| pattern_names(term, &mut names));
            }
            _ => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The variables of a term that unification can bind.
pub(super) fn pattern_names(term: &ast::Term, names: &mut Vec<Arc<str>>) {
    match &term.kind {
        TermKind::Var(name) if !matches!(&**name, "input" | "data") => names.push(name.clone()),
        TermKind::Array(items) => items.iter().for_each(|item| pattern_names(item, names)),
        TermKind::Object(members) => members.iter().for_each(|(_, value)| pattern_names(value, names)),
        _ => {}
    }
}
