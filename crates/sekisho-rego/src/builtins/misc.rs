//! Semantic versions, identifiers (UUID) and graphs.

use std::cmp::Ordering;

use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::operand::{any, items, object, string, type_error};
use crate::value::{Object, Set, Value};

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("semver.compare", semver_compare),
    ("semver.is_valid", |_, args| done(any(args, 0)?.as_str().and_then(Version::parse).is_some())),
    ("graph.reachable", reachable),
    ("graph.reachable_paths", reachable_paths),
    ("walk", traverse),
];

/// A semantic version without its metadata, which do not count.
struct Version<'a> {
    numbers: [i64; 3],
    pre_release: Vec<&'a str>,
}

fn numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn identifiers(text: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = text.split('.').collect();
    let valid = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    parts.iter().all(valid).then_some(parts)
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Version<'a>> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = match text.split_once('+') {
            Some((rest, metadata)) => identifiers(metadata).map(|_| rest)?,
            None => text,
        };
        let (core, pre_release) = match text.split_once('-') {
            Some((core, pre)) => (core, identifiers(pre)?),
            None => (text, Vec::new()),
        };
        if pre_release.iter().any(|part| numeric(part) && part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        let number = |part: &str| {
            let valid = numeric(part) && (part.len() == 1 || !part.starts_with('0'));
            if valid { part.parse().ok() } else { None }
        };
        let mut parts = core.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Version { numbers, pre_release })
    }

    fn compare(&self, other: &Version) -> Ordering {
        let pre_release = match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre_release.iter().zip(&other.pre_release);
                let differing = pairs.map(|(a, b)| compare_identifiers(a, b)).find(|order| order.is_ne());
                differing.unwrap_or_else(|| self.pre_release.len().cmp(&other.pre_release.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then(pre_release)
    }
}

fn compare_identifiers(a: &str, b: &str) -> Ordering {
    match (numeric(a), numeric(b)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (false, false) => a.cmp(b),
    }
}

fn semver_compare(cx: &mut Context, args: &[Value]) -> Outcome {
    let (a, b) = (string(args, 0)?, string(args, 1)?);
    cx.spend(a.len() + b.len())?;
    let version = |text, number| {
        Version::parse(text)
            .ok_or_else(|| failure(format!("operand {number}: string {} is not a valid SemVer", Value::from(text))))
    };
    done(match version(a, 1)?.compare(&version(b, 2)?) {
        Ordering::Less => -1_i64,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}

/// The nodes to start from.
fn initial(args: &[Value]) -> Result<&[Value], BuiltinError> {
    items(any(args, 1)?).ok_or_else(|| type_error(args, 1, &["{array, set}"]))
}

fn reachable(cx: &mut Context, args: &[Value]) -> Outcome {
    let nodes = object(args, 0)?.members();
    let position = |node: &Value| nodes.binary_search_by(|(key, _)| key.cmp(node)).ok();
    let mut reached = vec![false; nodes.len()];
    let mut queue: Vec<usize> = initial(args)?.iter().filter_map(position).collect();
    cx.spend(nodes.len() + queue.len())?;
    while let Some(at) = queue.pop() {
        let (Some(seen), Some((_, edges))) = (reached.get_mut(at), nodes.get(at)) else { continue };
        if !std::mem::replace(seen, true) {
            let edges = items(edges).unwrap_or_default();
            cx.spend(edges.len().saturating_mul(4))?;
            queue.extend(edges.iter().filter_map(position));
        }
    }
    let found = nodes.iter().zip(reached).filter(|(_, reached)| *reached);
    done(found.map(|((node, _), _)| node.clone()).collect::<Set>())
}

fn reachable_paths(cx: &mut Context, args: &[Value]) -> Outcome {
    let graph = object(args, 0)?;
    let mut found = Vec::new();
    for node in initial(args)? {
        match graph.get(node).map(|edges| items(edges).unwrap_or_default()) {
            None => {}
            Some([]) => found.push(Value::from(vec![node.clone()])),
            Some(edges) => {
                for neighbour in edges {
                    paths_from(cx, graph, neighbour, &[node], &mut found)?;
                }
            }
        }
    }
    done(Set::from_vec(found))
}

/// Adds the paths that begin with `path` and go on with `start`, without recursion.
fn paths_from(
    cx: &mut Context,
    graph: &Object,
    start: &Value,
    path: &[&Value],
    found: &mut Vec<Value>,
) -> Result<(), BuiltinError> {
    let finish = |path: &[&Value]| Value::from(path.iter().map(|node| (*node).clone()).collect::<Vec<_>>());
    let mut stack = vec![(start, path.to_vec())];
    while let Some((node, mut path)) = stack.pop() {
        cx.spend(path.len().saturating_mul(40))?;
        let edges = match graph.get(node) {
            None => {
                found.push(finish(&path));
                continue;
            }
            Some(edges) => items(edges).unwrap_or_default(),
        };
        path.push(node);
        if edges.is_empty() {
            found.push(finish(&path));
        }
        for neighbour in edges {
            cx.spend(path.len().saturating_mul(40))?;
            if path.contains(&neighbour) {
                found.push(finish(&path));
            } else {
                stack.push((neighbour, path.clone()));
            }
        }
    }
    Ok(())
}

/// All values below a value with their paths, as an array of pairs. The evaluator iterates by itself; this form
/// serves a call outside of it.
fn traverse(cx: &mut Context, args: &[Value]) -> Outcome {
    let mut pairs = Vec::new();
    let mut stack = vec![(Vec::new(), any(args, 0)?)];
    while let Some((path, value)) = stack.pop() {
        cx.spend(path.len().saturating_mul(2))?;
        let below: Vec<(Value, &Value)> = match value {
            Value::Array(items) => items.iter().enumerate().map(|(i, item)| (Value::from(i), item)).collect(),
            Value::Set(items) => items.iter().map(|item| (item.clone(), item)).collect(),
            Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value)).collect(),
            _ => Vec::new(),
        };
        cx.spend(below.len().saturating_mul(path.len() + 1))?;
        for (key, value) in below.into_iter().rev() {
            let mut longer = path.clone();
            longer.push(key);
            stack.push((longer, value));
        }
        pairs.push(Value::from(vec![Value::from(path), value.clone()]));
    }
    done(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_precedence() {
        let order = |a, b| Version::parse(a).expect(a).compare(&Version::parse(b).expect(b));
        assert!(order("1.0.0-alpha.2", "1.0.0-alpha.11").is_lt());
        assert!(order("1.0.0-alpha", "1.0.0").is_lt());
        assert!(order("v1.2.3+build", "1.2.3").is_eq());
        assert!(Version::parse("1.2").is_none() && Version::parse("01.2.3").is_none());
    }
}
