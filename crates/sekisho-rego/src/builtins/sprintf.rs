//! `sprintf` with the verbs, flags and complaints of Go's `fmt`.

use super::context::{BuiltinError, Context, Outcome, done};
use super::goformat::{Item, Spec, format_item, named};
use super::operand::{array, string};
use crate::value::Value;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[("sprintf", sprintf)];

/// Go takes no width or precision beyond this.
const MAX_WIDTH: usize = 1_000_000;

pub(super) fn sprintf(cx: &mut Context, args: &[Value]) -> Outcome {
    let (format, values) = (string(args, 0)?, array(args, 1)?);
    cx.spend(format.len())?;
    let items: Vec<Item> = values.iter().map(Item::new).collect();
    let mut printer = Printer { cx, items: &items, next: 0, reordered: false, out: String::new() };
    printer.run(format)?;
    done(printer.out)
}

struct Printer<'a> {
    cx: &'a mut Context,
    items: &'a [Item],
    next: usize,
    reordered: bool,
    out: String,
}

impl Printer<'_> {
    fn run(&mut self, format: &str) -> Result<(), BuiltinError> {
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            self.out.push_str(before);
            let mut chars = Chars { rest: after };
            self.verb(&mut chars)?;
            rest = chars.rest;
        }
        self.out.push_str(rest);
        if !self.reordered && self.next < self.items.len() {
            let extra: Vec<String> = self.items.iter().skip(self.next).map(named).collect();
            self.push(&format!("%!(EXTRA {})", extra.join(", ")))?;
        }
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), BuiltinError> {
        self.cx.spend(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn verb(&mut self, chars: &mut Chars) -> Result<(), BuiltinError> {
        let mut spec = Spec::default();
        while let Some(flag) = chars.eat_any("+-# 0") {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                _ => spec.zero = true,
            }
        }
        let mut good = true;
        let mut indexed = self.index(chars, &mut good);
        if chars.eat_any("*").is_some() {
            match self.size() {
                Some(size) => {
                    spec.minus |= size < 0;
                    spec.width = usize::try_from(size.unsigned_abs()).ok();
                }
                None => self.push("%!(BADWIDTH)")?,
            }
            indexed = false;
        } else {
            spec.width = chars.number();
            good &= !(indexed && spec.width.is_some());
        }
        if chars.eat_any(".").is_some() {
            good &= !indexed;
            indexed = self.index(chars, &mut good);
            if chars.eat_any("*").is_some() {
                match self.size() {
                    Some(size) => spec.precision = usize::try_from(size).ok(),
                    None => self.push("%!(BADPREC)")?,
                }
                indexed = false;
            } else {
                spec.precision = Some(chars.number().unwrap_or(0));
            }
        }
        if !indexed {
            self.index(chars, &mut good);
        }
        let Some(verb) = chars.next() else {
            return self.push("%!(NOVERB)");
        };
        if verb == '%' {
            return self.push("%");
        }
        if !good {
            return self.push(&format!("%!{verb}(BADINDEX)"));
        }
        let Some(item) = self.items.get(self.next) else {
            return self.push(&format!("%!{verb}(MISSING)"));
        };
        self.next += 1;
        self.cx.spend(spec.width.unwrap_or(0).max(spec.precision.unwrap_or(0)))?;
        let text = format_item(item, verb, &spec);
        self.push(&text)
    }

    /// An explicit argument index `[n]`; tells whether there was one.
    fn index(&mut self, chars: &mut Chars, good: &mut bool) -> bool {
        let Some(inner) = chars.rest.strip_prefix('[') else {
            return false;
        };
        self.reordered = true;
        let Some((digits, after)) = inner.split_once(']') else {
            *good = false;
            chars.next();
            return false;
        };
        chars.rest = after;
        match digits.parse::<usize>() {
            Ok(number) if number >= 1 && number <= self.items.len() => {
                self.next = number - 1;
                true
            }
            _ => {
                *good = false;
                true
            }
        }
    }

    /// A width or precision from the arguments.
    fn size(&mut self) -> Option<i64> {
        let item = self.items.get(self.next)?;
        self.next += 1;
        match item {
            Item::Int(size) if size.unsigned_abs() <= MAX_WIDTH as u64 => Some(*size),
            _ => None,
        }
    }
}

struct Chars<'a> {
    rest: &'a str,
}

impl Chars<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn eat_any(&mut self, set: &str) -> Option<char> {
        let c = self.rest.chars().next().filter(|c| set.contains(*c))?;
        self.next();
        Some(c)
    }

    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        number.parse().ok().filter(|number| *number <= MAX_WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str, args: &str) -> String {
        let args = [Value::from(format), Value::from_json(args).expect("arguments")];
        let text = sprintf(&mut Context::new(0), &args).expect("sprintf").expect("defined");
        text.as_str().expect("string").to_owned()
    }

    #[test]
    fn complaints_are_those_of_go() {
        assert_eq!(
            print("%d|%s|%!|%z", r#"["a", 3, 3.5, "x"]"#),
            "%!d(string=a)|%!s(int64=3)|%!!(float64=3.5)|%!z(string=x)"
        );
        assert_eq!(print("%d %d", "[1]"), "1 %!d(MISSING)");
        assert_eq!(print("%5.2f|%-4d|", r#"["abc", "x"]"#), "%!f(string=   ab)|%!d(string=x   )|");
        assert_eq!(print("%d", r#"[1, "x", 2.5]"#), "1%!(EXTRA string=x, float64=2.5)");
        assert_eq!(print("%[9]d %", "[1]"), "%!d(BADINDEX) %!(NOVERB)");
    }

    #[test]
    fn widths_and_flags_are_those_of_go() {
        assert_eq!(print("%6.3d|%+d|% d|%#o|%#x", "[5, 5, 5, 8, 255]"), "   005|+5| 5|010|0xff");
        assert_eq!(print("%08.3f|%+.2e|%-5d|%05d", "[3.14159, 12345.678, 2, -42]"), "0003.142|+1.23e+04|2    |-0042");
        assert_eq!(print("%*d|%.2s|%x|%q|%c", r#"[5, 42, "héllo", "hé", "h\"é", 65]"#), "   42|hé|68c3a9|\"h\\\"é\"|A");
        assert_eq!(print("%[2]d %[1]d", "[1, 2]"), "2 1");
    }

    #[test]
    fn large_integers_are_exact() {
        assert_eq!(
            print("%d %s %x", "[123456789012345678901, 123456789012345678901, 123456789012345678901]"),
            "123456789012345678901 123456789012345678901 6b14e9f812f366c35"
        );
    }
}
