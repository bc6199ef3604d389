//! The form of a rule: all of it but constants that are compared or given to functions. Rules of one form pass the
//! same checks, since no check looks at these constants beyond their type; and they become the same steps with other
//! constants. So one of them is checked and lowered for all.

use std::collections::HashMap;

use super::ast::{Body, Expr, ExprKind, HeadKind, Module, Rule, Span, TemplatePart, Term, TermKind};

/// Ends a text; no byte of UTF-8.
const END: u8 = 0xff;

/// Which rules of modules have the same form.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// By module, then by rule: the number of the first rule of its form.
    first: Vec<Vec<usize>>,
}

impl Forms {
    pub(crate) fn new(modules: &[Module]) -> Forms {
        Forms { first: modules.iter().map(firsts).collect() }
    }

    /// The number of the first rule that has the form of this one.
    pub(crate) fn first(&self, module: usize, rule: usize) -> usize {
        self.first.get(module).and_then(|first| first.get(rule)).copied().unwrap_or(rule)
    }
}

fn firsts(module: &Module) -> Vec<usize> {
    // Annotations are about single rules.
    if !module.annotations.is_empty() {
        return (0..module.rules.len()).collect();
    }
    let (mut known, mut form) = (HashMap::<Vec<u8>, usize>::new(), Form { written: true, ..Form::default() });
    let mut firsts = Vec::with_capacity(module.rules.len());
    for (number, rule) in module.rules.iter().enumerate() {
        form.read(rule);
        // Of defaults there may be one.
        let alike = known.get(&form.bytes).filter(|_| !rule.default).copied();
        firsts.push(alike.unwrap_or(number));
        if alike.is_none() && !rule.default {
            known.insert(form.bytes.clone(), number);
        }
    }
    firsts
}

/// The parts of a rule: those that its form leaves out, in the same order for all rules of a form.
#[derive(Default)]
pub(crate) struct Form<'a> {
    /// The form itself, if it is asked for: equal for two rules only if each check comes to the same for both.
    bytes: Vec<u8>,
    written: bool,
    /// The constants that are not part of it.
    pub(crate) constants: Vec<&'a Term>,
    /// The places of all its parts.
    pub(crate) spans: Vec<Span>,
}

impl<'a> Form<'a> {
    /// Reads the parts of a rule in place of what was read before.
    pub(crate) fn read(&mut self, rule: &'a Rule) {
        self.bytes.clear();
        self.constants.clear();
        self.spans.clear();
        self.rule(rule);
    }

    fn place(&mut self, span: Span) {
        self.spans.push(span);
    }

    fn tag(&mut self, tag: u8) {
        if self.written {
            self.bytes.push(tag);
        }
    }

    fn flag(&mut self, flag: bool) {
        self.tag(u8::from(flag));
    }

    fn text(&mut self, text: &str) {
        if self.written {
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(END);
        }
    }

    fn count(&mut self, count: usize) {
        if self.written {
            self.bytes.extend_from_slice(&count.to_le_bytes());
        }
    }

    fn rule(&mut self, rule: &'a Rule) {
        self.place(rule.span);
        self.place(rule.head.span);
        self.text(&rule.head.name.text);
        self.count(rule.head.path.len());
        rule.head.path.iter().for_each(|part| self.term(&part.term));
        match &rule.head.kind {
            HeadKind::Value(value) => {
                self.tag(0);
                self.option(value.as_ref());
            }
            HeadKind::Set { element, .. } => {
                self.tag(1);
                self.term(element);
            }
            HeadKind::Function { parameters, value } => {
                self.tag(2);
                self.terms(parameters);
                self.option(value.as_ref());
            }
        }
        self.optional_body(rule.body.as_ref());
        self.count(rule.otherwise.len());
        for branch in &rule.otherwise {
            self.place(branch.span);
            self.option(branch.value.as_ref());
            self.optional_body(branch.body.as_ref());
        }
    }

    fn option(&mut self, term: Option<&'a Term>) {
        self.flag(term.is_some());
        term.into_iter().for_each(|term| self.term(term));
    }

    fn optional_body(&mut self, body: Option<&'a Body>) {
        self.flag(body.is_some());
        body.into_iter().for_each(|body| self.body(body));
    }

    fn body(&mut self, body: &'a Body) {
        self.place(body.span);
        self.flag(body.braces);
        self.count(body.exprs.len());
        body.exprs.iter().for_each(|expr| self.expr(expr));
    }

    fn expr(&mut self, expr: &'a Expr) {
        self.place(expr.span);
        self.flag(expr.negated);
        match &expr.kind {
            ExprKind::Term(term) => {
                self.tag(0);
                self.term(term);
            }
            ExprKind::Assign(left, right) => self.pair(1, left, right),
            ExprKind::Unify(left, right) => self.pair(2, left, right),
            ExprKind::Some(names) => {
                self.tag(3);
                self.terms(names);
            }
            ExprKind::SomeIn { key, value, collection } => {
                self.tag(4);
                self.option(key.as_deref());
                self.term(value);
                self.term(collection);
            }
            ExprKind::Every { key, value, domain, body } => {
                self.tag(5);
                self.option(key.as_deref());
                self.term(value);
                self.term(domain);
                self.body(body);
            }
            ExprKind::Not(body) => {
                self.tag(6);
                self.body(body);
            }
            ExprKind::And(left, right) => self.bodies(7, left, right),
            ExprKind::Or(left, right) => self.bodies(8, left, right),
        }
        self.count(expr.with.len());
        for with in &expr.with {
            self.place(with.span);
            self.term(&with.target);
            self.term(&with.value);
        }
    }

    fn pair(&mut self, tag: u8, left: &'a Term, right: &'a Term) {
        self.tag(tag);
        self.term(left);
        self.term(right);
    }

    fn bodies(&mut self, tag: u8, left: &'a Body, right: &'a Body) {
        self.tag(tag);
        self.body(left);
        self.body(right);
    }

    fn terms(&mut self, terms: &'a [Term]) {
        self.count(terms.len());
        terms.iter().for_each(|term| self.term(term));
    }

    /// What an operator or a function is given: of a constant its type is enough. Elsewhere a constant may select a
    /// document or a member.
    fn operand(&mut self, term: &'a Term) {
        match &term.kind {
            TermKind::Number(_) => self.tag(40),
            TermKind::String { .. } => self.tag(41),
            _ => return self.term(term),
        }
        self.place(term.span);
        self.constants.push(term);
    }

    fn operands(&mut self, terms: &'a [Term]) {
        self.count(terms.len());
        terms.iter().for_each(|term| self.operand(term));
    }

    fn term(&mut self, term: &'a Term) {
        self.place(term.span);
        match &term.kind {
            TermKind::Null => self.tag(10),
            TermKind::Bool(value) => self.tag(if *value { 11 } else { 12 }),
            TermKind::Number(text) => {
                self.tag(13);
                self.text(text);
            }
            TermKind::String { value, .. } => {
                self.tag(14);
                self.text(value);
            }
            TermKind::Var(name) => {
                self.tag(15);
                self.text(name);
            }
            TermKind::Wildcard(_) => self.tag(16),
            TermKind::Ref { head, path } => {
                self.tag(17);
                self.term(head);
                self.count(path.len());
                path.iter().for_each(|part| self.term(&part.term));
            }
            TermKind::Call { function, arguments } => {
                self.tag(18);
                self.term(function);
                self.operands(arguments);
            }
            TermKind::Infix { op, left, right, .. } => {
                self.tag(19);
                self.text(op.builtin());
                self.operand(left);
                self.operand(right);
            }
            TermKind::In { key, value, collection } => {
                self.tag(20);
                self.option(key.as_deref());
                self.operand(value);
                self.term(collection);
            }
            TermKind::Minus(operand) => {
                self.tag(21);
                self.term(operand);
            }
            _ => self.collection(term),
        }
    }

    fn collection(&mut self, term: &'a Term) {
        match &term.kind {
            TermKind::Array(terms) => {
                self.tag(22);
                self.terms(terms);
            }
            TermKind::Set(terms) => {
                self.tag(23);
                self.terms(terms);
            }
            TermKind::Object(pairs) => {
                self.tag(24);
                self.count(pairs.len());
                for (key, value) in pairs {
                    self.term(key);
                    self.term(value);
                }
            }
            TermKind::ArrayComprehension { head, body } => {
                self.tag(25);
                self.term(head);
                self.body(body);
            }
            TermKind::SetComprehension { head, body } => {
                self.tag(26);
                self.term(head);
                self.body(body);
            }
            TermKind::ObjectComprehension { key, value, body } => {
                self.pair(27, key, value);
                self.body(body);
            }
            TermKind::Template { parts, .. } => {
                self.tag(28);
                self.count(parts.len());
                for part in parts {
                    match part {
                        TemplatePart::Text(text) => self.text(text),
                        TemplatePart::Expr(expr) => self.expr(expr),
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program;
    use crate::syntax::{Options, parse_module};

    impl Forms {
        /// As if no two rules were alike.
        fn apart(modules: &[Module]) -> Forms {
            Forms { first: modules.iter().map(|module| (0..module.rules.len()).collect()).collect() }
        }
    }

    fn read(text: &str) -> Vec<Module> {
        vec![parse_module("a.rego", &format!("package a\n\n{text}"), Options::default()).unwrap()]
    }

    fn same(first: &str, second: &str) -> bool {
        Forms::new(&read(&format!("{first}\n\n{second}"))).first(0, 1) == 0
    }

    #[test]
    fn compared_constants_are_no_part_of_forms() {
        assert!(same("p if input.x == \"a\"", "p if input.x == \"b\""));
        assert!(same("p if startswith(input.x, \"a\")", "p if startswith( input.x,\"b\" )"));
        for (first, second) in [
            ("p if input.x == \"a\"", "p if input.x == 1"),
            ("p if input.x == \"a\"", "p if input.y == \"a\""),
            ("p if input.x == \"a\"", "q if input.x == \"a\""),
            ("p if data.b[\"a\"]", "p if data.b[\"b\"]"),
            ("p if { x := \"a\"; data.b[x] }", "p if { x := \"b\"; data.b[x] }"),
            ("p if input.x in [\"a\"]", "p if input.x in [\"b\"]"),
            ("p if not input.x == 1", "p if input.x == 1"),
            ("p := 1 if input.x == 1", "p := 2 if input.x == 1"),
            ("p if input.x == true", "p if input.x == false"),
            ("default p := 1", "default p := 1"),
        ] {
            assert!(!same(first, second), "{first}; {second}");
        }
    }

    #[test]
    fn rules_of_one_form_become_the_same_steps() {
        let mut text = String::new();
        for (number, word) in ["x", "\\u00001", "1", "\\u0000"].iter().enumerate() {
            text.push_str(&format!(
                "p if {{\n\tinput.a.b == \"{word}\"\n\t{number} + input.n > 2\n\tinput.c in {{\"{word}\", 3}}\n}}\n\n\
                 f(x) := y if {{\n\ty := sprintf(\"%v {word}\", [x])\n\t\
                 every i in input.list {{ i != {number} }}\n}}\n\n\
                 q contains k if {{ some k, v in input.o; v == \"{word}\"; not g(k, {number}) with input.z as 1 }}\n\n\
                 r[k] := [v | v := input.o[k]; v < {number}] if some k in [\"a\", \"b\"]\n\n\
                 s if {{ {number} == 1; \"{word}\" == input.w; {{{number} | true}} == {{1}} }}\n\n\
                 t if {{ input.u == {number} }} else := 3 if {{ [p, w] := walk(input.v)[_]; p[0] == \"{word}\" }}\n\n\
                 u := $\"{{input.x + {number}}} t\" if concat(\"{word}\", [\"a\", input.q]) == data.b.c[input.k]\n\n\
                 g(a, {number}) if a == \"{word}\"\n\n"
            ));
        }
        let modules = read(&text);
        let forms = Forms::new(&modules);
        assert!((8..32).filter(|rule| forms.first(0, *rule) < 8).count() > 12);
        let compile = |forms: &Forms| format!("{:?}", program::compile(&modules, forms, false).unwrap().0);
        assert_eq!(compile(&forms), compile(&Forms::apart(&modules)));
    }

    #[test]
    fn each_rule_of_a_form_reports_its_errors() {
        let modules = read("p if startswith(1, \"a\")\n\np if startswith(1, \"b\")\n\np if input.x == y\n");
        let errors = crate::check::check(&modules, crate::check::Options::default()).unwrap_err();
        let lines: Vec<u32> = errors.iter().map(|error| error.span.line).collect();
        assert_eq!(lines, [7]);
        let modules = read("p if startswith(1, \"a\")\n\np if startswith(1, \"b\")\n");
        let errors = crate::check::check(&modules, crate::check::Options::default()).unwrap_err();
        let lines: Vec<u32> = errors.iter().map(|error| error.span.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
