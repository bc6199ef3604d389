//! Documents of JSON for input and data: of one shape, with members that are missing or of another kind.

use crate::constants::{Kind, constant, number};
use crate::random::Random;

/// The members of a document, and their kinds.
pub(crate) const MEMBERS: &[(&str, Kind)] = &[
    ("n", Kind::Number),
    ("m", Kind::Number),
    ("s", Kind::String),
    ("t", Kind::String),
    ("b", Kind::Bool),
    ("z", Kind::Null),
    ("xs", Kind::Array),
    ("ss", Kind::Array),
    ("o", Kind::Object),
    ("os", Kind::Array),
    ("mix", Kind::Any),
];

/// JSON that the language's constants have as well.
fn json(random: &mut Random, kind: Kind, depth: usize) -> String {
    let kind = if kind == Kind::Set { Kind::Array } else { kind };
    match kind {
        Kind::Any => {
            let kind = [Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object, Kind::Null][random.below(6)];
            json(random, kind, depth)
        }
        Kind::String => loop {
            let text = constant(random, Kind::String, 0);
            if !text.starts_with('`') {
                break text;
            }
        },
        Kind::Array | Kind::Object => {
            let count = if depth == 0 { 0 } else { random.below(5) };
            let items = (0..count).map(|at| {
                let value = json(random, Kind::Any, depth - 1);
                match kind {
                    Kind::Array => value,
                    _ => format!("\"{}\":{value}", ["a", "b", "c", "n", "x", "1", "é"][(at + random.below(3)) % 7]),
                }
            });
            let items = items.collect::<Vec<_>>().join(",");
            if kind == Kind::Array { format!("[{items}]") } else { format!("{{{items}}}") }
        }
        _ => constant(random, kind, 0),
    }
}

fn list(random: &mut Random, mut item: impl FnMut(&mut Random) -> String) -> String {
    let count = random.below(5);
    format!("[{}]", (0..count).map(|_| item(random)).collect::<Vec<_>>().join(","))
}

fn member(random: &mut Random, name: &str, kind: Kind) -> String {
    if random.one_in(10) {
        return json(random, Kind::Any, 2);
    }
    match name {
        "xs" => list(random, |random| number(random).to_owned()),
        "ss" => list(random, |random| json(random, Kind::String, 0)),
        "os" => list(random, |random| {
            let (id, n, tags) = (json(random, Kind::String, 0), number(random), json(random, Kind::Array, 1));
            format!("{{\"id\":{id},\"n\":{n},\"tags\":{tags}}}")
        }),
        _ => json(random, kind, 2),
    }
}

/// A document.
pub(crate) fn document(random: &mut Random) -> String {
    let mut members = Vec::new();
    for (name, kind) in MEMBERS {
        if !random.one_in(10) {
            members.push(format!("\"{name}\":{}", member(random, name, *kind)));
        }
    }
    format!("{{{}}}", members.join(","))
}
