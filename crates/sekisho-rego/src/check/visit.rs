//! All steps and references of a body, nested ones among them.

use super::flat::{Base, Callee, Item, Step, StepKind};

/// Calls `found` for every step, those in closures too.
pub(super) fn steps<'a>(body: &'a [Step], found: &mut dyn FnMut(&'a Step)) {
    for step in body {
        found(step);
        match &step.kind {
            StepKind::Term(item) => item_steps(item, found),
            StepKind::Equal { left, right, .. } => {
                item_steps(left, found);
                item_steps(right, found);
            }
            StepKind::Call { arguments, .. } => arguments.iter().for_each(|item| item_steps(item, found)),
            StepKind::Every { domain, body, .. } => {
                item_steps(domain, found);
                steps(body, found);
            }
            StepKind::Not { body, .. } => steps(body, found),
            StepKind::Logical { left, right, .. } => {
                steps(left, found);
                steps(right, found);
            }
        }
        step.with.iter().for_each(|with| item_steps(&with.value, found));
    }
}

pub(super) fn item_steps<'a>(item: &'a Item, found: &mut dyn FnMut(&'a Step)) {
    match item {
        Item::Ref(_, items) | Item::Array(items) | Item::Set(items) => {
            items.iter().for_each(|item| item_steps(item, found));
        }
        Item::Object(pairs) => {
            for (key, value) in pairs {
                item_steps(key, found);
                item_steps(value, found);
            }
        }
        Item::Comprehension(comprehension) => {
            comprehension.terms.iter().for_each(|item| item_steps(item, found));
            steps(&comprehension.body, found);
        }
        _ => {}
    }
}

/// A document that a body depends on: the path after `data`.
#[derive(Clone, Copy)]
pub(super) enum Document<'a> {
    Path(&'a [Item]),
    Function(&'a [std::sync::Arc<str>]),
}

/// Calls `found` for every reference to `data` and every call of a rule in a body.
pub(super) fn documents<'a>(body: &'a [Step], found: &mut dyn FnMut(Document<'a>)) {
    steps(body, &mut |step| {
        match &step.kind {
            StepKind::Term(item) => item_documents(item, found),
            StepKind::Equal { left, right, .. } => {
                item_documents(left, found);
                item_documents(right, found);
            }
            StepKind::Call { callee, arguments } => {
                if let Callee::Rule(path) = callee {
                    found(Document::Function(path));
                }
                arguments.iter().for_each(|item| item_documents(item, found));
            }
            StepKind::Every { domain, .. } => item_documents(domain, found),
            StepKind::Not { .. } | StepKind::Logical { .. } => {}
        }
        for with in &step.with {
            item_documents(&with.target, found);
            item_documents(&with.value, found);
        }
    });
}

pub(super) fn item_documents<'a>(item: &'a Item, found: &mut dyn FnMut(Document<'a>)) {
    match item {
        Item::Ref(base, path) => {
            if *base == Base::Data {
                found(Document::Path(path));
            }
            path.iter().for_each(|item| item_documents(item, found));
        }
        Item::Array(items) | Item::Set(items) => items.iter().for_each(|item| item_documents(item, found)),
        Item::Object(pairs) => {
            for (key, value) in pairs {
                item_documents(key, found);
                item_documents(value, found);
            }
        }
        Item::Comprehension(comprehension) => {
            comprehension.terms.iter().for_each(|item| item_documents(item, found));
        }
        _ => {}
    }
}
