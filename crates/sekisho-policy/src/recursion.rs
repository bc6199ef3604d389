//! Recursive rules and functions. The engine follows a function's calls until its stack overflows, which kills the
//! process, so such a policy is not loaded.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead};

use crate::refs::{Name, aliases, declared, head_of, leading_path, reference, resolve};

/// Longest chain of rules that use each other. The engine follows it on its stack.
const MAX_CHAIN: usize = 32;

/// A recursive rule, or a chain of rules that is too long.
pub(crate) struct Recursion {
    pub file: String,
    pub line: u32,
    pub reason: String,
}

struct Node {
    file: String,
    line: u32,
    uses: BTreeSet<Name>,
}

type Nodes = BTreeMap<Name, Node>;

/// The first rule that is recursive or begins a chain that is too long, if any.
pub(crate) fn find(modules: &[Ref<Module>]) -> Option<Recursion> {
    let mut nodes = Nodes::new();
    for module in modules {
        let package = reference(&module.package.refr).unwrap_or_default();
        let aliases = aliases(module);
        let scope = Scope { package: &package, aliases: &aliases, locals: BTreeSet::new() };
        for rule in &module.policy {
            let span = rule.span();
            let name = scope.resolve(&leading_path(head_of(rule)));
            let file = span.source.file().clone();
            let node = nodes.entry(name).or_insert_with(|| Node { file, line: span.line, uses: BTreeSet::new() });
            collect_rule(rule, &scope, &mut node.uses);
        }
    }
    let mut lengths = BTreeMap::new();
    let (name, what) = nodes.keys().find_map(|name| followed(&nodes, name, &mut lengths))?;
    let node = nodes.get(name)?;
    Some(Recursion { file: node.file.clone(), line: node.line, reason: format!("`{}` {what}", name.join(".")) })
}

/// Follows the rules that a rule uses, depth first and without recursion. `lengths` holds the chain behind each
/// finished rule, and 0 for rules in progress.
fn followed<'a>(
    nodes: &'a Nodes,
    start: &'a Name,
    lengths: &mut BTreeMap<&'a Name, usize>,
) -> Option<(&'a Name, String)> {
    if lengths.contains_key(start) {
        return None;
    }
    lengths.insert(start, 0);
    let mut way = vec![(start, used_by(nodes, start), 1usize)];
    while let Some((name, waiting, longest)) = way.last_mut() {
        let Some(next) = waiting.pop() else {
            let (name, longest) = (*name, *longest);
            if longest > MAX_CHAIN {
                let what = format!(
                    "stands behind more than {MAX_CHAIN} rules that use each other: take some of them together"
                );
                return Some((name, what));
            }
            lengths.insert(name, longest);
            way.pop();
            if let Some((_, _, above)) = way.last_mut() {
                *above = (*above).max(longest + 1);
            }
            continue;
        };
        match lengths.get(next) {
            Some(0) => {
                let what = "calls itself, perhaps by way of others: recursion has no end here";
                return Some((next, what.to_owned()));
            }
            Some(length) => *longest = (*longest).max(length + 1),
            None => {
                lengths.insert(next, 0);
                way.push((next, used_by(nodes, next), 1));
            }
        }
    }
    None
}

/// A use of `data.p.f.x` uses `data.p.f`; a use of `data.p` uses all rules of the package.
fn used_by<'a>(nodes: &'a Nodes, name: &Name) -> Vec<&'a Name> {
    let mut out = BTreeSet::new();
    for used in nodes.get(name).into_iter().flat_map(|node| &node.uses) {
        let within = nodes.range(used.clone()..).map(|(name, _)| name).take_while(|name| name.starts_with(used));
        let above = (1..used.len()).filter_map(|end| nodes.get_key_value(used.get(..end)?).map(|(name, _)| name));
        out.extend(within.chain(above));
    }
    out.into_iter().collect()
}

#[derive(Clone)]
struct Scope<'a> {
    package: &'a [String],
    aliases: &'a BTreeMap<String, Name>,
    /// Names that mean a variable here, and no rule.
    locals: BTreeSet<String>,
}

impl Scope<'_> {
    /// The same with the variables that a query declares.
    fn within(&self, query: &Query) -> Self {
        let mut inner = self.clone();
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => inner.locals.extend(vars.iter().map(|var| var.text().to_owned())),
                Literal::SomeIn { key, value, .. } => key.iter().chain([value]).for_each(|expr| inner.declare(expr)),
                Literal::Expr { expr, .. } => {
                    if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = &**expr {
                        inner.declare(lhs);
                    }
                }
                Literal::Every { .. } | Literal::NotExpr { .. } => {}
            }
        }
        inner
    }

    /// Takes the variables of a pattern as local.
    fn declare(&mut self, pattern: &Expr) {
        self.locals.extend(declared(pattern));
    }

    fn uses(&self, path: &[String], uses: &mut BTreeSet<Name>) {
        if path.first().is_some_and(|first| !self.locals.contains(first)) {
            uses.insert(self.resolve(path));
        }
    }

    fn resolve(&self, path: &[String]) -> Name {
        resolve(path, self.package, self.aliases)
    }
}

fn collect_rule(rule: &Rule, scope: &Scope<'_>, uses: &mut BTreeSet<Name>) {
    let Rule::Spec { head, bodies, .. } = rule else { return };
    let mut scope = scope.clone();
    if let RuleHead::Func { args, .. } = head {
        args.iter().for_each(|argument| scope.declare(argument));
    }
    // A head's value may use variables of any body.
    let heads = bodies.iter().fold(scope.clone(), |scope, body| scope.within(&body.query));
    match head {
        RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. } => {
            collect_indexes(refr, &heads, uses);
            assign.iter().for_each(|assign| collect(&assign.value, &heads, uses));
        }
        RuleHead::Set { refr, key, .. } => {
            collect_indexes(refr, &heads, uses);
            key.iter().for_each(|key| collect(key, &heads, uses));
        }
    }
    for body in bodies {
        body.assign.iter().for_each(|assign| collect(&assign.value, &scope.within(&body.query), uses));
        collect_query(&body.query, &scope, uses);
    }
}

/// The content of the brackets in a rule's own head.
fn collect_indexes(head: &Expr, scope: &Scope<'_>, uses: &mut BTreeSet<Name>) {
    match head {
        Expr::RefBrack { refr, index, .. } => {
            collect(index, scope, uses);
            collect_indexes(refr, scope, uses);
        }
        Expr::RefDot { refr, .. } => collect_indexes(refr, scope, uses),
        _ => {}
    }
}

fn collect_query(query: &Query, scope: &Scope<'_>, uses: &mut BTreeSet<Name>) {
    let scope = &scope.within(query);
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|expr| collect(expr, scope, uses));
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => collect(expr, scope, uses),
            Literal::Every { key, value, domain, query, .. } => {
                collect(domain, scope, uses);
                let mut inner = scope.clone();
                inner.locals.extend(key.iter().chain([value]).map(|name| name.text().to_owned()));
                collect_query(query, &inner, uses);
            }
        }
        statement.with_mods.iter().for_each(|with| collect(&with.r#as, scope, uses));
    }
}

fn collect(expr: &Expr, scope: &Scope<'_>, uses: &mut BTreeSet<Name>) {
    let mut all = |parts: &[&Ref<Expr>]| parts.iter().for_each(|part| collect(part, scope, uses));
    match expr {
        Expr::Var { .. } => scope.uses(&leading_path(expr), uses),
        Expr::RefDot { .. } | Expr::RefBrack { .. } => {
            collect_indexes(expr, scope, uses);
            let root = leading_path(expr);
            if root.is_empty() {
                collect_root(expr, scope, uses);
            } else {
                scope.uses(&root, uses);
            }
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => all(&items.iter().collect::<Vec<_>>()),
        Expr::Object { fields, .. } => {
            fields.iter().for_each(|(_, key, value)| all(&[key, value]));
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            collect(term, &scope.within(query), uses);
            collect_query(query, scope, uses);
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            [key, value].iter().for_each(|part| collect(part, &scope.within(query), uses));
            collect_query(query, scope, uses);
        }
        Expr::Call { fcn, params, .. } => {
            all(&params.iter().collect::<Vec<_>>());
            // The engine finds a function by its name, whatever variables there are.
            uses.insert(scope.resolve(&leading_path(fcn)));
        }
        Expr::UnaryExpr { expr, .. } => all(&[expr]),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => all(&[lhs, rhs]),
        Expr::Membership { key, value, collection, .. } => {
            key.iter().for_each(|key| all(&[key]));
            all(&[value, collection]);
        }
        _ => {}
    }
}

/// The beginning of a reference that is not a name: a call, a literal.
fn collect_root(expr: &Expr, scope: &Scope<'_>, uses: &mut BTreeSet<Name>) {
    match expr {
        Expr::RefBrack { refr, .. } | Expr::RefDot { refr, .. } => collect_root(refr, scope, uses),
        other => collect(other, scope, uses),
    }
}
