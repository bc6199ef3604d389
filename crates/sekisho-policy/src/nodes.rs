//! Every statement and expression of a module, outermost first. Depth is bounded before a module comes here.

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead};

pub(crate) enum Node<'a> {
    Statement(&'a LiteralStmt),
    Expression(&'a Expr),
}

/// Calls `see` for each statement and expression of `module`, heads and modifiers included.
pub(crate) fn nodes<'a>(module: &'a Module, see: &mut impl FnMut(Node<'a>)) {
    for rule in &module.policy {
        rule_nodes(rule, see);
    }
}

/// The same for one rule.
pub(crate) fn rule_nodes<'a>(rule: &'a Rule, see: &mut impl FnMut(Node<'a>)) {
    match rule {
        Rule::Default { refr, args, value, .. } => {
            args.iter().chain([refr, value]).for_each(|expr| of(expr, see));
        }
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { refr, assign, .. } => {
                    of(refr, see);
                    assign.iter().for_each(|assign| of(&assign.value, see));
                }
                RuleHead::Func { refr, args, assign, .. } => {
                    args.iter().chain([refr]).for_each(|expr| of(expr, see));
                    assign.iter().for_each(|assign| of(&assign.value, see));
                }
                RuleHead::Set { refr, key, .. } => key.iter().chain([refr]).for_each(|expr| of(expr, see)),
            }
            for body in bodies {
                body.assign.iter().for_each(|assign| of(&assign.value, see));
                of_query(&body.query, see);
            }
        }
    }
}

fn of_query<'a>(query: &'a Query, see: &mut impl FnMut(Node<'a>)) {
    for statement in &query.stmts {
        see(Node::Statement(statement));
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|expr| of(expr, see));
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => of(expr, see),
            Literal::Every { domain, query, .. } => {
                of(domain, see);
                of_query(query, see);
            }
        }
        statement.with_mods.iter().flat_map(|with| [&with.refr, &with.r#as]).for_each(|expr| of(expr, see));
    }
}

fn of<'a>(expr: &'a Ref<Expr>, see: &mut impl FnMut(Node<'a>)) {
    see(Node::Expression(expr));
    children(expr).into_iter().for_each(|part| of(part, see));
    match &**expr {
        Expr::ArrayCompr { query, .. } | Expr::SetCompr { query, .. } | Expr::ObjectCompr { query, .. } => {
            of_query(query, see);
        }
        _ => {}
    }
}

/// The expressions that an expression is made of, without the statements of a comprehension.
pub(crate) fn children(expr: &Expr) -> Vec<&Ref<Expr>> {
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().collect(),
        Expr::Object { fields, .. } => fields.iter().flat_map(|(_, key, value)| [key, value]).collect(),
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![term],
        Expr::ObjectCompr { key, value, .. } => vec![key, value],
        Expr::Call { fcn, params, .. } => params.iter().chain([fcn]).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => key.iter().chain([value, collection]).collect(),
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => vec![],
    }
}
