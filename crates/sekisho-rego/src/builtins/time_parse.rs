//! Reads times by Go's layouts.

use super::civil::Civil;
use super::layout::{MONTHS, Part, WEEKDAYS, Width, instant, is_day, month_day, parts};

/// Reads a time: seconds and nanoseconds since 1970.
pub(super) fn parse(layout: &str, text: &str) -> Result<(i64, i64), String> {
    let fail = |what: &str| format!("parsing time {text:?} as {layout:?}: {what}");
    let mut reader = Reader { rest: text, fields: Fields::default() };
    let parts = parts(layout);
    for (index, part) in parts.iter().enumerate() {
        let fraction_follows = matches!(parts.get(index + 1), Some(Part::Fraction { .. }));
        reader.part(*part, fraction_follows).ok_or_else(|| {
            let rest = reader.rest;
            fail(&format!("cannot parse {rest:?} as {part:?}"))
        })?;
    }
    if !reader.rest.is_empty() {
        return Err(fail(&format!("extra text: {:?}", reader.rest)));
    }
    reader.fields.finish().map_err(fail)
}

/// What was read so far.
#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
    afternoon: Option<bool>,
    offset: i64,
}

impl Fields {
    fn finish(self) -> Result<(i64, i64), &'static str> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let (mut month, mut day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if let Some(year_day) = self.year_day {
            let (m, d) = month_day(self.year, year_day).ok_or("day-of-year out of range")?;
            if self.month.is_some_and(|month| month != m) {
                return Err("day-of-year does not match month");
            }
            if self.day.is_some_and(|day| day != d) {
                return Err("day-of-year does not match day");
            }
            (month, day) = (m, d);
        }
        if !is_day(self.year, month, day) {
            return Err("day out of range");
        }
        let civil = Civil { year: self.year, month, day, hour, minute: self.minute, second: self.second };
        Ok(instant(civil, self.nanosecond, self.offset))
    }
}

struct Reader<'a> {
    rest: &'a str,
    fields: Fields,
}

impl Reader<'_> {
    fn part(&mut self, part: Part, fraction_follows: bool) -> Option<()> {
        match part {
            Part::Literal(text) => self.literal(text)?,
            Part::Year => self.fields.year = self.digits(4, 4)?,
            Part::ShortYear => {
                let year = self.digits(2, 2)?;
                self.fields.year = if year >= 69 { 1_900 + year } else { 2_000 + year };
            }
            Part::MonthName => self.fields.month = Some(self.name(&MONTHS, usize::MAX)?),
            Part::ShortMonthName => self.fields.month = Some(self.name(&MONTHS, 3)?),
            Part::Month(width) => self.fields.month = Some(self.number(width, 12).filter(|month| *month > 0)?),
            Part::WeekdayName => drop(self.name(&WEEKDAYS, usize::MAX)?),
            Part::ShortWeekdayName => drop(self.name(&WEEKDAYS, 3)?),
            Part::Day(width) => self.fields.day = Some(self.number(width, 99)?),
            Part::YearDay(width) => {
                self.skip_spaces(if width == Width::Space { 2 } else { 0 });
                let least = if width == Width::Zero { 3 } else { 1 };
                self.fields.year_day = Some(self.digits(least, 3)?);
            }
            Part::Hour => self.fields.hour = self.number(Width::Plain, 23)?,
            Part::Hour12(width) => self.fields.hour = self.number(width, 12)?,
            Part::Minute(width) => self.fields.minute = self.number(width, 59)?,
            Part::Second(width) => {
                self.fields.second = self.number(width, 59)?;
                if !fraction_follows {
                    self.fraction(None)?;
                }
            }
            Part::HalfDay(upper) => {
                let (am, pm) = if upper { ("AM", "PM") } else { ("am", "pm") };
                self.fields.afternoon = Some(self.eat(pm));
                if self.fields.afternoon == Some(false) && !self.eat(am) {
                    return None;
                }
            }
            Part::ZoneName => self.zone_name()?,
            Part::Zone { z: true, .. } if self.eat("Z") => self.fields.offset = 0,
            Part::Zone { colon, fields, .. } => self.zone(colon, fields)?,
            Part::Fraction { digits, fixed: true, .. } => self.fraction(Some(digits))?,
            Part::Fraction { .. } => self.fraction(None)?,
        }
        Some(())
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A run of spaces in the layout takes any run of spaces.
    fn literal(&mut self, text: &str) -> Option<()> {
        let mut expected = text;
        while let Some(c) = expected.chars().next() {
            if c == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return None;
                }
                expected = expected.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
            } else {
                self.rest = self.rest.strip_prefix(c)?;
                expected = expected.strip_prefix(c)?;
            }
        }
        Some(())
    }

    fn skip_spaces(&mut self, most: usize) {
        for _ in 0..most {
            self.eat(" ");
        }
    }

    /// A number of at least and at most so many digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(count)?;
        if count < least {
            return None;
        }
        self.rest = rest;
        digits.parse().ok()
    }

    fn number(&mut self, width: Width, most: i64) -> Option<i64> {
        self.skip_spaces(usize::from(width == Width::Space));
        let least = if width == Width::Zero { 2 } else { 1 };
        self.digits(least, 2).filter(|number| *number <= most)
    }

    /// The position from 1 of a name, of which so many bytes are written.
    fn name(&mut self, names: &[&str], size: usize) -> Option<i64> {
        for (number, name) in (1..).zip(names) {
            let name = name.get(..size).unwrap_or(name);
            if let Some((head, rest)) = self.rest.split_at_checked(name.len())
                && head.eq_ignore_ascii_case(name)
            {
                self.rest = rest;
                return Some(number);
            }
        }
        None
    }

    /// A fraction of a second: so many digits, or any number of them, none too.
    fn fraction(&mut self, digits: Option<usize>) -> Option<()> {
        let body = self.rest.strip_prefix(['.', ',']);
        let count = body.map_or(0, |body| body.bytes().take_while(u8::is_ascii_digit).count());
        let wanted = match digits {
            None if count == 0 => return Some(()),
            None => count,
            Some(digits) => digits,
        };
        let (digits, rest) = body?.split_at_checked(wanted).filter(|_| wanted <= count)?;
        let nine = format!("{:0<9}", digits.get(..9).unwrap_or(digits));
        self.fields.nanosecond = nine.parse().ok()?;
        self.rest = rest;
        Some(())
    }

    fn zone(&mut self, colon: bool, fields: usize) -> Option<()> {
        let sign = if self.eat("-") { -1 } else { self.eat("+").then_some(1)? };
        let mut seconds = self.digits(2, 2).filter(|hours| *hours <= 24)? * 3_600;
        for unit in [60, 1].into_iter().take(fields - 1) {
            if colon && !self.eat(":") {
                return None;
            }
            seconds += self.digits(2, 2).filter(|number| *number <= 60)? * unit;
        }
        self.fields.offset = sign * seconds;
        Some(())
    }

    /// An abbreviation: three to five capitals, or `GMT+3`. Only UTC and `GMT` with a number have an offset.
    fn zone_name(&mut self) -> Option<()> {
        if self.eat("UTC") || self.eat("ChST") || self.eat("MeST") || self.eat("WITA") {
            return Some(());
        }
        let gmt = self.eat("GMT");
        if gmt || self.rest.starts_with(['+', '-']) {
            let sign = if self.rest.starts_with('-') { -1 } else { 1 };
            if let Some(digits) = self.rest.strip_prefix(['+', '-']) {
                let count = digits.bytes().take_while(u8::is_ascii_digit).count();
                let (number, rest) = digits.split_at_checked(count)?;
                match number.parse::<i64>() {
                    Ok(hours) if hours <= 23 => {
                        self.fields.offset = if gmt { sign * hours * 3_600 } else { 0 };
                        self.rest = rest;
                    }
                    _ if gmt => {}
                    _ => return None,
                }
            }
            return Some(());
        }
        let count = self.rest.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
        let (name, rest) = self.rest.split_at_checked(count)?;
        if !(count == 3 || matches!(count, 4 | 5) && name.ends_with('T')) {
            return None;
        }
        self.rest = rest;
        Some(())
    }
}
