//! Texts of times by Go's layouts, which show how the reference time `Mon Jan 2 15:04:05 MST 2006` is written.

use super::civil::{Civil, DAY, days_from_civil, days_in_month, is_leap, weekday};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Go's names of layouts.
pub(super) fn named_layout(name: &str) -> &str {
    match name {
        "ANSIC" => "Mon Jan _2 15:04:05 2006",
        "UnixDate" => "Mon Jan _2 15:04:05 MST 2006",
        "RubyDate" => "Mon Jan 02 15:04:05 -0700 2006",
        "RFC822" => "02 Jan 06 15:04 MST",
        "RFC822Z" => "02 Jan 06 15:04 -0700",
        "RFC850" => "Monday, 02-Jan-06 15:04:05 MST",
        "RFC1123" => "Mon, 02 Jan 2006 15:04:05 MST",
        "RFC1123Z" => "Mon, 02 Jan 2006 15:04:05 -0700",
        "RFC3339" => RFC3339,
        "RFC3339Nano" => RFC3339_NANO,
        other => other,
    }
}

pub(super) const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
pub(super) const RFC3339_NANO: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// How wide a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// As short as it is.
    Plain,
    /// With zeros before it.
    Zero,
    /// With spaces before it.
    Space,
}

/// A part of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Literal(&'a str),
    Year,
    ShortYear,
    MonthName,
    ShortMonthName,
    Month(Width),
    WeekdayName,
    ShortWeekdayName,
    Day(Width),
    YearDay(Width),
    Hour,
    Hour12(Width),
    Minute(Width),
    Second(Width),
    /// `PM` or `pm`.
    HalfDay(bool),
    ZoneName,
    /// An offset: `Z` for UTC, with a colon, and its size in fields (1 to 3).
    Zone {
        z: bool,
        colon: bool,
        fields: usize,
    },
    /// A fraction of seconds: its mark, digits, and whether zeros at its end are written.
    Fraction {
        mark: char,
        digits: usize,
        fixed: bool,
    },
}

const ZONES: [(&str, bool, usize); 5] =
    [("07:00:00", true, 3), ("070000", false, 3), ("07:00", true, 2), ("0700", false, 2), ("07", false, 1)];

/// The part of the reference time that a layout begins with, and its length.
fn part_at(layout: &str) -> Option<(Part<'static>, usize)> {
    const FIXED: [(&str, Part<'static>); 25] = [
        ("January", Part::MonthName),
        ("Monday", Part::WeekdayName),
        ("MST", Part::ZoneName),
        ("002", Part::YearDay(Width::Zero)),
        ("01", Part::Month(Width::Zero)),
        ("02", Part::Day(Width::Zero)),
        ("03", Part::Hour12(Width::Zero)),
        ("04", Part::Minute(Width::Zero)),
        ("05", Part::Second(Width::Zero)),
        ("06", Part::ShortYear),
        ("15", Part::Hour),
        ("1", Part::Month(Width::Plain)),
        ("2006", Part::Year),
        ("2", Part::Day(Width::Plain)),
        ("__2", Part::YearDay(Width::Space)),
        ("_2006", Part::Literal("_")),
        ("_2", Part::Day(Width::Space)),
        ("3", Part::Hour12(Width::Plain)),
        ("4", Part::Minute(Width::Plain)),
        ("5", Part::Second(Width::Plain)),
        ("PM", Part::HalfDay(true)),
        ("pm", Part::HalfDay(false)),
        ("Jan", Part::ShortMonthName),
        ("Mon", Part::ShortWeekdayName),
        ("", Part::Literal("")),
    ];
    for (text, part) in FIXED {
        let lower_follows = || layout.get(3..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        match part {
            Part::Literal("") => break,
            Part::ShortMonthName | Part::ShortWeekdayName if lower_follows() => {}
            Part::Literal(_) if layout.starts_with(text) => return Some((part, 1)),
            _ if layout.starts_with(text) => return Some((part, text.len())),
            _ => {}
        }
    }
    let z = layout.starts_with('Z');
    if let Some(rest) = layout.strip_prefix(['Z', '-']) {
        let zone = ZONES.iter().find(|(text, ..)| rest.starts_with(text));
        if let Some((text, colon, fields)) = zone {
            return Some((Part::Zone { z, colon: *colon, fields: *fields }, text.len() + 1));
        }
    }
    let mark = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let rest = layout.get(1..)?;
    let digit = rest.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest.len() - rest.trim_start_matches(digit).len();
    let ends = !rest.get(digits..)?.starts_with(|c: char| c.is_ascii_digit());
    ends.then_some((Part::Fraction { mark, digits, fixed: digit == '0' }, digits + 1))
}

/// The parts of a layout.
pub(super) fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut literal) = (layout, 0);
    let mut chars = layout.char_indices();
    while let Some((at, _)) = chars.next() {
        let here = layout.get(at..).unwrap_or_default();
        let Some((part, size)) = part_at(here) else { continue };
        if at > literal {
            parts.push(Part::Literal(layout.get(literal..at).unwrap_or_default()));
        }
        parts.push(part);
        literal = at + size;
        rest = layout.get(literal..).unwrap_or_default();
        for _ in 1..size {
            chars.next();
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    parts
}

/// A moment as a zone shows it.
pub(super) struct Moment<'a> {
    pub(super) civil: Civil,
    pub(super) nanosecond: i64,
    pub(super) offset: i64,
    pub(super) zone: &'a str,
}

fn padded(number: i64, width: Width, size: usize) -> String {
    match width {
        Width::Plain => number.to_string(),
        Width::Zero => format!("{number:0size$}"),
        Width::Space => format!("{number:size$}"),
    }
}

fn name<'a>(names: &'a [&'a str], index: i64) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

pub(super) fn format(layout: &str, moment: &Moment) -> String {
    parts(layout).into_iter().map(|part| format_part(part, moment)).collect()
}

fn format_part(part: Part, moment: &Moment) -> String {
    let civil = moment.civil;
    match part {
        Part::Literal(text) => text.to_owned(),
        Part::Year if civil.year < 0 => format!("-{:04}", -civil.year),
        Part::Year => format!("{:04}", civil.year),
        Part::ShortYear => format!("{:02}", civil.year.rem_euclid(100)),
        Part::MonthName => name(&MONTHS, civil.month - 1).to_owned(),
        Part::ShortMonthName => short(name(&MONTHS, civil.month - 1)).to_owned(),
        Part::Month(width) => padded(civil.month, width, 2),
        Part::WeekdayName => name(&WEEKDAYS, weekday(civil.days())).to_owned(),
        Part::ShortWeekdayName => short(name(&WEEKDAYS, weekday(civil.days()))).to_owned(),
        Part::Day(width) => padded(civil.day, width, 2),
        Part::YearDay(width) => padded(civil.days() - days_from_civil(civil.year, 1, 1) + 1, width, 3),
        Part::Hour => format!("{:02}", civil.hour),
        Part::Hour12(width) => padded((civil.hour + 11) % 12 + 1, width, 2),
        Part::Minute(width) => padded(civil.minute, width, 2),
        Part::Second(width) => padded(civil.second, width, 2),
        Part::HalfDay(upper) => match (civil.hour >= 12, upper) {
            (true, true) => "PM",
            (false, true) => "AM",
            (true, false) => "pm",
            (false, false) => "am",
        }
        .to_owned(),
        Part::ZoneName if !moment.zone.is_empty() => moment.zone.to_owned(),
        Part::ZoneName => zone_text(moment.offset, false, 2),
        Part::Zone { z: true, .. } if moment.offset == 0 => "Z".to_owned(),
        Part::Zone { colon, fields, .. } => zone_text(moment.offset, colon, fields),
        Part::Fraction { mark, digits, fixed } => fraction_text(moment.nanosecond, mark, digits, fixed),
    }
}

fn zone_text(offset: i64, colon: bool, fields: usize) -> String {
    let size = offset.abs();
    let colon = if colon { ":" } else { "" };
    let mut text = format!("{}{:02}", if offset < 0 { '-' } else { '+' }, size / 3_600);
    if fields > 1 {
        text.push_str(&format!("{colon}{:02}", size / 60 % 60));
    }
    if fields > 2 {
        text.push_str(&format!("{colon}{:02}", size % 60));
    }
    text
}

fn fraction_text(nanosecond: i64, mark: char, digits: usize, fixed: bool) -> String {
    let all = format!("{nanosecond:09}{}", "0".repeat(digits.saturating_sub(9)));
    let kept = all.get(..digits).unwrap_or(&all);
    if fixed {
        return format!("{mark}{kept}");
    }
    match kept.trim_end_matches('0') {
        "" => String::new(),
        significant => format!("{mark}{significant}"),
    }
}

/// Seconds and nanoseconds since 1970 of a date, a time and an offset.
pub(super) fn instant(civil: Civil, nanosecond: i64, offset: i64) -> (i64, i64) {
    (civil.seconds().saturating_sub(offset), nanosecond)
}

/// Is this a day of the calendar?
pub(super) fn is_day(year: i64, month: i64, day: i64) -> bool {
    (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day)
}

/// Month and day of a day of a year from 1.
pub(super) fn month_day(year: i64, year_day: i64) -> Option<(i64, i64)> {
    let days = if is_leap(year) { 366 } else { 365 };
    if !(1..=days).contains(&year_day) {
        return None;
    }
    let civil = Civil::new((days_from_civil(year, 1, 1) + year_day - 1) * DAY, 0);
    Some((civil.month, civil.day))
}
