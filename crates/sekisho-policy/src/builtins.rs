//! Builtins that we answer ourselves, and bounds on those whose results could be larger than any machine.

use std::collections::BTreeSet;

use regorus::unstable::{BUILTINS, Expr, Ref, Source, Span};
use regorus::{Engine, Value};
use sekisho_types::UnixTime;

use crate::nodes::{Node, nodes};
use crate::refs::reference;
use crate::work::Cost;

/// Most bytes in a text that a builtin makes.
const MAX_BYTES: usize = 1024 * 1024;
/// Most items in a list that a builtin makes.
const MAX_ITEMS: f64 = 4096.0;
/// Largest width or precision in a format, and furthest shift of bits.
const MAX_WIDTH: u64 = 1000;
/// Most factors of a product, and most digits that a text is read as a number by: the time grows with their square.
const MAX_FACTORS: usize = 1000;
const MAX_DIGITS: usize = 1000;

/// Whether the result for these arguments stays within bounds. Arguments of a wrong kind do: they give no result.
type Fits = fn(&[Value]) -> bool;

const BOUNDED: [(&str, Fits); 10] = [
    ("bits.lsh", |arguments| number(arguments, 1).is_none_or(|shift| shift <= MAX_WIDTH as f64)),
    ("net.cidr_expand", |arguments| text(arguments, 0).is_none_or(expands_to_few)),
    ("numbers.range", range_is_short),
    ("numbers.range_step", range_is_short),
    ("product", |arguments| match arguments {
        [Value::Array(items)] => items.len() <= MAX_FACTORS,
        [Value::Set(items)] => items.len() <= MAX_FACTORS,
        _ => true,
    }),
    ("regex.replace", |arguments| {
        let length = |at| text(arguments, at).map_or(0, str::len);
        (length(0) + 1).saturating_mul(length(2) + 1) <= 4 * MAX_BYTES
    }),
    ("replace", |arguments| match (text(arguments, 0), text(arguments, 1), text(arguments, 2)) {
        (Some(within), Some(old), Some(new)) => replaced(within, old, new).is_some(),
        _ => true,
    }),
    ("to_number", |arguments| text(arguments, 0).is_none_or(|digits| digits.len() <= MAX_DIGITS)),
    ("sprintf", |arguments| text(arguments, 0).is_none_or(is_narrow)),
    ("strings.replace_n", |arguments| match arguments {
        [Value::Object(pairs), Value::String(within)] => {
            let pairs = pairs.iter().filter_map(|(old, new)| old.as_string().ok().zip(new.as_string().ok()));
            let mut pairs = pairs.into_iter();
            pairs.try_fold(within.to_string(), |text, (old, new)| replaced(&text, old, new)).is_some()
        }
        _ => true,
    }),
];

/// Names that we answer ourselves, or that the engine answers in a way of its own.
const OURS: [&str; 7] =
    ["graph.reachable_paths", "print", "rand.intn", "strings.count", "time.now_ns", "trace", "walk"];

/// Builtins that a replay answers in another way ([`crate::oracle`]), so they are not bounded here: they only look at
/// what there is, and the steps for it are fewer where it is large.
const ASKED: [&str; 5] = ["contains", "count", "endswith", "regex.match", "startswith"];

/// Names that the engine answers although its table of builtins lacks them.
pub(crate) fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

/// The number of arguments of a builtin; `None` for those that take any number, and what is not a builtin.
pub(crate) fn arity(name: &str) -> Option<usize> {
    BUILTINS.get(name).map(|(_, arity)| usize::from(*arity))
}

/// Gives an engine our builtins; the copies made for decisions have them too.
pub(crate) fn install(engine: &mut Engine) -> Result<(), String> {
    let mut add = |name: &str, arguments: u8, builtin: Box<dyn regorus::Extension>| {
        engine.add_extension(name.to_owned(), arguments, builtin).map_err(|e| e.to_string())
    };
    // Paths of a graph are exponentially many, and nothing says how many before they are made.
    let paths = |_| Err(std::io::Error::other("`graph.reachable_paths` is not available here").into());
    add("graph.reachable_paths", 2, Box::new(paths))?;
    // A random decision cannot be replayed.
    add("rand.intn", 2, Box::new(|_| Err(std::io::Error::other("`rand.intn` is not available here").into())))?;
    // The engine's own panics on an empty pattern and counts overlaps.
    add("strings.count", 2, Box::new(|arguments| Ok(strings_count(&arguments))))
}

/// Gives an engine that has read its policies bounded forms of the builtins that they call.
pub(crate) fn bound(engine: &mut Engine) -> Result<(), String> {
    let mut called = BTreeSet::new();
    for module in engine.get_modules() {
        nodes(module, &mut |node| {
            // A name without a call may stand for a builtin in `with`.
            let name = match node {
                Node::Expression(Expr::Call { fcn, .. }) => reference(fcn),
                Node::Expression(expr) => reference(expr),
                Node::Statement(_) => None,
            };
            called.extend(name.map(|name| name.join(".")));
        });
    }
    for (name, (_, arity)) in
        BUILTINS.iter().filter(|(name, _)| called.contains(**name) && !OURS.contains(name) && !ASKED.contains(name))
    {
        let fits = BOUNDED.iter().find(|(bounded, ..)| bounded == name).map(|(.., fits)| *fits);
        let builtin = bounded(name, *arity, fits.unwrap_or(|_| true));
        engine.add_extension((*name).to_owned(), *arity, builtin).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Binds a copy made for one decision to its `now`: a replay has the same clock.
pub(crate) fn bind_clock(engine: &mut Engine, now: UnixTime) -> Result<(), String> {
    let nanos = now.nanos();
    let clock = Box::new(move |_: Vec<Value>| Ok(Value::from(nanos)));
    engine.add_extension("time.now_ns".to_owned(), 0, clock).map_err(|e| e.to_string())
}

/// The engine's own builtin.
pub(crate) fn native(name: &'static str, arity: u8) -> Box<dyn regorus::Extension> {
    bounded(name, arity, |_| true)
}

/// The engine's own builtin, if its result stays within bounds.
fn bounded(name: &'static str, arity: u8, fits: Fits) -> Box<dyn regorus::Extension> {
    // Spans are for the engine's messages; the failed builtin is reported by name.
    let place = Source::from_contents(name.to_owned(), name.to_owned()).map(|source| Span {
        source,
        line: 1,
        col: 1,
        start: 0,
        end: 0,
    });
    let parameters = place.as_ref().map_or_else(
        |_| vec![],
        |span| {
            let parameter = |_| Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
            (0..arity).map(parameter).collect::<Vec<_>>()
        },
    );
    let place = place.ok();
    Box::new(move |arguments: Vec<Value>| {
        let refuse = |what: &str| std::io::Error::other(format!("`{name}`: {what}"));
        if !fits(&arguments) {
            return Err(refuse("the result would be larger than a decision may make").into());
        }
        let cost = Cost::of(name);
        cost.charge(&arguments).map_err(refuse)?;
        match (BUILTINS.get(name), &place) {
            (Some((builtin, _)), Some(span)) => {
                let result = builtin(span, &parameters, &arguments, true)?;
                cost.charge([&result]).map_err(refuse)?;
                Ok(result)
            }
            _ => Err(refuse("not available here").into()),
        }
    })
}

fn text(arguments: &[Value], at: usize) -> Option<&str> {
    match arguments.get(at) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn number(arguments: &[Value], at: usize) -> Option<f64> {
    arguments.get(at)?.as_f64().ok()
}

fn range_is_short(arguments: &[Value]) -> bool {
    number(arguments, 0).zip(number(arguments, 1)).is_none_or(|(from, to)| (from - to).abs() <= MAX_ITEMS)
}

fn expands_to_few(network: &str) -> bool {
    let Some((address, prefix)) = network.split_once('/') else { return true };
    let bits = if address.contains(':') { 128 } else { 32 };
    prefix.parse::<u32>().is_ok_and(|prefix| prefix + 12 >= bits)
}

/// Whether no width or precision of a format is large, or given by an argument.
fn is_narrow(format: &str) -> bool {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    !format.contains('*') && numbers.into_iter().all(|digits| digits.parse().is_ok_and(|width: u64| width <= MAX_WIDTH))
}

fn replaced(within: &str, old: &str, new: &str) -> Option<String> {
    let count = if old.is_empty() { within.len() + 1 } else { within.matches(old).count() };
    let length = count.saturating_mul(new.len()).saturating_add(within.len());
    (length <= MAX_BYTES).then(|| within.replace(old, new))
}

fn strings_count(arguments: &[Value]) -> Value {
    match arguments {
        [Value::String(text), Value::String(pattern)] if pattern.is_empty() => {
            Value::from(text.chars().count() as u64 + 1)
        }
        [Value::String(text), Value::String(pattern)] => Value::from(text.matches(pattern.as_ref()).count() as u64),
        _ => Value::Undefined,
    }
}
