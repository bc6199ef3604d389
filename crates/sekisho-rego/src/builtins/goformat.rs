//! Values by one verb of Go's `fmt`.

use num_bigint::{BigInt, Sign};
use num_traits::{Num, ToPrimitive};

use super::gofloat::format_float;
use crate::value::{Number, Value};

/// An argument as Go would hold it.
pub(super) enum Item {
    Int(i64),
    Big(BigInt),
    Float(f64),
    Text(String),
}

impl Item {
    pub(super) fn new(value: &Value) -> Item {
        match value {
            Value::Number(number) => Item::from_number(number),
            Value::String(text) => Item::Text(text.to_string()),
            other => Item::Text(other.to_string()),
        }
    }

    fn from_number(number: &Number) -> Item {
        let text = number.to_string();
        if text.contains(['.', 'e', 'E']) {
            let float = number.to_f64();
            return if float.is_finite() { Item::Float(float) } else { Item::Text(text) };
        }
        match number.as_i64() {
            Some(small) => Item::Int(small),
            None => BigInt::from_str_radix(&text, 10).map_or(Item::Text(text), Item::Big),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Item::Int(_) => "int64",
            Item::Big(_) => "*big.Int",
            Item::Float(_) => "float64",
            Item::Text(_) => "string",
        }
    }
}

/// Flags, width and precision of a verb.
#[derive(Clone, Copy, Default)]
pub(super) struct Spec {
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

/// `type=value`, as Go's complaints show an argument.
pub(super) fn named(item: &Item) -> String {
    format!("{}={}", item.type_name(), format_item(item, 'v', &Spec::default()))
}

/// A verb that does not go with an argument, which is shown with the width and the precision of the verb.
fn bad(verb: char, item: &Item, spec: &Spec) -> String {
    match item {
        Item::Big(number) => format!("%!{verb}(big.Int={number})"),
        _ => {
            let shown = format_item(item, 'v', &Spec { sharp: false, ..*spec });
            format!("%!{verb}({}={shown})", item.type_name())
        }
    }
}

pub(super) fn format_item(item: &Item, verb: char, spec: &Spec) -> String {
    if verb == 'T' {
        return pad(item.type_name(), spec);
    }
    match item {
        Item::Text(text) => match verb {
            'v' if spec.sharp => pad(&quoted(text), spec),
            's' | 'v' => pad(&truncated(text, spec), spec),
            'q' => pad(&quoted_with(text, spec), spec),
            'x' | 'X' => pad(&hex(text, verb, spec), spec),
            _ => bad(verb, item, spec),
        },
        Item::Int(number) => match verb {
            'c' => pad(&rune(*number).to_string(), spec),
            'q' => pad(&quoted_rune(rune(*number)), spec),
            'U' => {
                let shown = if spec.sharp { format!(" '{}'", rune(*number)) } else { String::new() };
                pad(&format!("U+{number:04X}{shown}"), spec)
            }
            'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' => integer(&BigInt::from(*number), verb, spec),
            _ => bad(verb, item, spec),
        },
        Item::Big(number) => match verb {
            'v' | 'd' | 's' | 'b' | 'o' | 'O' | 'x' | 'X' => integer(number, verb, spec),
            _ => bad(verb, item, spec),
        },
        Item::Float(number) => match verb {
            'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F' => float(*number, verb, spec),
            'x' | 'X' | 'b' => signed(&hexadecimal(*number, verb), spec),
            _ => bad(verb, item, spec),
        },
    }
}

fn pad(text: &str, spec: &Spec) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    let fill = if spec.zero { "0" } else { " " };
    format!("{}{text}", fill.repeat(missing))
}

fn truncated(text: &str, spec: &Spec) -> String {
    match spec.precision {
        Some(size) => text.chars().take(size).collect(),
        None => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn quoted_with(text: &str, spec: &Spec) -> String {
    let text = truncated(text, spec);
    let plain = |c: char| c == '\t' || !c.is_control() && c != '`' && c != '\u{feff}';
    if spec.sharp && text.chars().all(plain) {
        return format!("`{text}`");
    }
    let quoted = quoted(&text);
    if !spec.plus {
        return quoted;
    }
    let escape = |c: char| match u32::from(c) {
        0..=0x7f => c.to_string(),
        code @ 0x80..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    quoted.chars().map(escape).collect()
}

fn quoted_rune(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let quoted = quoted(&c.to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}

fn rune(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex(text: &str, verb: char, spec: &Spec) -> String {
    let bytes = text.bytes().take(spec.precision.unwrap_or(usize::MAX));
    let byte = |byte: u8| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") };
    let prefix = if spec.sharp { format!("0{verb}") } else { String::new() };
    if spec.space {
        return bytes.map(|b| format!("{prefix}{}", byte(b))).collect::<Vec<_>>().join(" ");
    }
    let digits: String = bytes.map(byte).collect();
    if digits.is_empty() { digits } else { format!("{prefix}{digits}") }
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn integer(number: &BigInt, verb: char, spec: &Spec) -> String {
    let (radix, prefix) = match verb {
        'b' => (2, "0b"),
        'o' => (8, "0"),
        'O' => (8, ""),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    let mut digits = number.magnitude().to_str_radix(radix);
    if verb == 'X' {
        digits.make_ascii_uppercase();
    }
    let sign = sign(number.sign() == Sign::Minus, spec);
    let prefix = match verb {
        'O' => "0o",
        _ if spec.sharp => prefix,
        _ => "",
    };
    if spec.precision == Some(0) && number.to_i64() == Some(0) {
        return " ".repeat(spec.width.unwrap_or(0));
    }
    let least = match spec.precision {
        Some(precision) => precision,
        None if spec.zero && !spec.minus => spec.width.unwrap_or(0).saturating_sub(sign.len()),
        None => 0,
    };
    let body = format!("{sign}{prefix}{digits:0>least$}");
    pad(&body, &Spec { width: spec.width, minus: spec.minus, ..Spec::default() })
}

fn float(number: f64, verb: char, spec: &Spec) -> String {
    let precision = match verb {
        'e' | 'E' | 'f' | 'F' => Some(spec.precision.unwrap_or(6)),
        _ => spec.precision,
    };
    let verb = match verb {
        'v' => 'g',
        'F' => 'f',
        other => other,
    };
    signed(&format_float(number, verb, precision), spec)
}

/// Puts the wanted sign and padding around a number's text; zeros go between sign and digits.
fn signed(text: &str, spec: &Spec) -> String {
    let negative = text.starts_with('-');
    let body = text.trim_start_matches(['-', '+']);
    let sign = sign(negative, spec);
    if spec.zero && !spec.minus {
        let least = spec.width.unwrap_or(0).saturating_sub(sign.len());
        return format!("{sign}{body:0>least$}");
    }
    pad(&format!("{sign}{body}"), spec)
}

/// The form `0x1.8p+01`, or the mantissa and the power of two in decimal for `b`.
fn hexadecimal(number: f64, verb: char) -> String {
    let bits = number.to_bits();
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let (field, fraction) = (((bits >> 52) & 0x7ff) as i64, bits & ((1 << 52) - 1));
    if verb == 'b' {
        let (mantissa, power) = if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
        return format!("{sign}{mantissa}p{power:+}");
    }
    let (lead, power) = match (field, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        _ => (1, field - 1023),
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let dot = if digits.is_empty() { "" } else { "." };
    let mark = if power < 0 { '-' } else { '+' };
    let text = format!("{sign}0x{lead}{dot}{digits}p{mark}{:02}", power.abs());
    if verb == 'X' { text.to_uppercase() } else { text }
}
