//! Constants: those that engines disagree about first.

use crate::random::Random;

/// A kind of value, as far as a generator cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any, or unknown until the policy runs.
    Any,
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
    Set,
}

/// The kinds that a term can be asked to have.
pub(crate) const KINDS: [Kind; 7] =
    [Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object, Kind::Set, Kind::Null];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "10",
    "-1",
    "-2",
    "-0",
    "0.5",
    "1.0",
    "1.5",
    "-2.5",
    "0.1",
    "0.2",
    "1e2",
    "1e-3",
    "1E3",
    "100",
    "255",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1234567890123456789",
    "1e20",
    "1e21",
];

const STRINGS: &[&str] = &[
    r#""""#,
    r#""a""#,
    r#""b""#,
    r#""ab""#,
    r#""abc""#,
    r#""A""#,
    r#""x""#,
    r#""1""#,
    r#""1.5""#,
    r#""-3""#,
    r#""true""#,
    r#""/""#,
    r#"".""#,
    r#""a.b""#,
    r#""a/b/c""#,
    r#"" a ""#,
    r#""é""#,
    r#""ß""#,
    r#""日本""#,
    r#""🔑""#,
    r#""a\nb""#,
    r#""\t""#,
    r#""\u0000""#,
    r#""<&>""#,
    r#""\"""#,
    r#""\\""#,
    r#""e\u0301""#,
    r#""ǅ""#,
    r#""İ""#,
    "`a\\d`",
    "`b`",
];

/// A number as the language writes it.
pub(crate) fn number(random: &mut Random) -> &'static str {
    // Small ones are equal to each other often enough.
    if random.one_in(2) { random.pick(&NUMBERS[..8]) } else { random.pick(NUMBERS) }
}

/// A string in quotes.
pub(crate) fn string(random: &mut Random) -> &'static str {
    if random.one_in(2) { random.pick(&STRINGS[..7]) } else { random.pick(STRINGS) }
}

/// A constant of a kind, nested at most `depth` deep.
pub(crate) fn constant(random: &mut Random, kind: Kind, depth: usize) -> String {
    let items = |count: usize, random: &mut Random| -> Vec<String> {
        (0..count)
            .map(|_| {
                let kind = if depth == 0 { random.pick(&[&Kind::Number, &Kind::String]) } else { &Kind::Any };
                constant(random, *kind, depth.saturating_sub(1))
            })
            .collect()
    };
    match kind {
        Kind::Any => {
            let kind = KINDS[random.below(KINDS.len())];
            constant(random, kind, depth)
        }
        Kind::Null => "null".to_owned(),
        Kind::Bool => random.pick(&["true", "false"]).to_owned(),
        Kind::Number => number(random).to_owned(),
        Kind::String => string(random).to_owned(),
        Kind::Array => {
            let count = random.below(4);
            format!("[{}]", items(count, random).join(", "))
        }
        Kind::Set => {
            let count = random.below(4);
            if count == 0 { "set()".to_owned() } else { format!("{{{}}}", items(count, random).join(", ")) }
        }
        Kind::Object => {
            let count = random.below(4);
            let values = items(count, random);
            let member = |value: String| {
                let key = if random.one_in(6) { number(random) } else { string(random) };
                format!("{key}: {value}")
            };
            format!("{{{}}}", values.into_iter().map(member).collect::<Vec<_>>().join(", "))
        }
    }
}
