//! Every statement and expression of a module, outermost first. Depth is bounded before a module comes here.

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead};

pub(crate) enum Node<'a> {
    Statement(&'a LiteralStmt),
    Expression(&'a Expr),
}

/// Calls `see` for each statement and expression of `module`, heads and modifiers included.
pub(crate) fn nodes(module: &Module, see: &mut impl FnMut(Node<'_>)) {
    for rule in &module.policy {
        of_rule(rule, see);
    }
}

fn of_rule(rule: &Rule, see: &mut impl FnMut(Node<'_>)) {
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

fn of_query(query: &Query, see: &mut impl FnMut(Node<'_>)) {
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

fn of(expr: &Ref<Expr>, see: &mut impl FnMut(Node<'_>)) {
    see(Node::Expression(expr));
    match &**expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| of(item, see)),
        Expr::Object { fields, .. } => {
            fields.iter().flat_map(|(_, key, value)| [key, value]).for_each(|part| of(part, see));
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            of(term, see);
            of_query(query, see);
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            [key, value].into_iter().for_each(|part| of(part, see));
            of_query(query, see);
        }
        Expr::Call { fcn, params, .. } => params.iter().chain([fcn]).for_each(|part| of(part, see)),
        Expr::UnaryExpr { expr, .. } => of(expr, see),
        Expr::RefDot { refr, .. } => of(refr, see),
        Expr::RefBrack { refr, index, .. } => [refr, index].into_iter().for_each(|part| of(part, see)),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => [lhs, rhs].into_iter().for_each(|part| of(part, see)),
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).for_each(|part| of(part, see));
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
    }
}
