//! `time.*`. Moments are nanoseconds since 1970, from 1677 to 2262.

use super::civil::{Civil, DAY, days_from_civil, days_in_month, weekday};
use super::context::{BuiltinError, Context, Outcome, done, failure};
use super::float::Float;
use super::layout::{Moment, RFC3339, RFC3339_NANO, WEEKDAYS, format, named_layout};
use super::operand::{any, int, string, type_error};
use super::time_parse::parse;
use super::zone::{Offset, Zone};
use crate::value::Value;
use num_traits::ToPrimitive;

pub(super) const FUNCTIONS: &[(&str, super::context::Function)] = &[
    ("time.parse_ns", parse_ns),
    ("time.parse_rfc3339_ns", |cx, args| moment(cx, RFC3339, string(args, 0)?)),
    ("time.parse_duration_ns", parse_duration_ns),
    ("time.format", format_time),
    ("time.date", date),
    ("time.clock", clock),
    ("time.weekday", weekday_name),
    ("time.add_date", add_date),
    ("time.diff", diff),
];

const SECOND: i64 = 1_000_000_000;
/// The longest layout or time that is read.
const MAX_TEXT: usize = 10_000;

fn to_nanoseconds(seconds: i64, nanoseconds: i64) -> Outcome {
    let total = i128::from(seconds) * i128::from(SECOND) + i128::from(nanoseconds);
    match i64::try_from(total) {
        Ok(total) => done(total),
        Err(_) => Err(failure("time outside of valid range")),
    }
}

fn moment(cx: &mut Context, layout: &str, text: &str) -> Outcome {
    cx.spend((layout.len() + text.len()).saturating_mul(30))?;
    if layout.len() > MAX_TEXT || text.len() > MAX_TEXT {
        return Err(failure("layout or time is too long"));
    }
    let (seconds, nanoseconds) = parse(layout, text).map_err(failure)?;
    to_nanoseconds(seconds, nanoseconds)
}

fn parse_ns(cx: &mut Context, args: &[Value]) -> Outcome {
    moment(cx, named_layout(string(args, 0)?), string(args, 1)?)
}

/// A moment with its zone and the layout that is asked for.
struct Zoned {
    nanoseconds: i64,
    zone: Zone,
    layout: String,
}

impl Zoned {
    fn offset(&self) -> Option<&Offset> {
        self.zone.offset(self.nanoseconds.div_euclid(SECOND))
    }

    fn civil(&self) -> Civil {
        Civil::new(self.nanoseconds.div_euclid(SECOND), self.offset().map_or(0, |offset| offset.seconds))
    }
}

/// Nanoseconds, or an array of nanoseconds, zone and layout.
fn zoned(cx: &mut Context, args: &[Value], index: usize) -> Result<Zoned, BuiltinError> {
    let expected = "either number (ns) or [number (ns), string (tz)]";
    let argument = any(args, index)?;
    let parts = match argument {
        Value::Array(parts) if !parts.is_empty() => parts.to_vec(),
        Value::Number(_) => vec![argument.clone()],
        _ => return Err(type_error(std::slice::from_ref(argument), 0, &[expected])),
    };
    let text = |at: usize| match parts.get(at) {
        None => Ok(""),
        Some(part) => part.as_str().ok_or_else(|| type_error(std::slice::from_ref(part), 0, &["string"])),
    };
    let (name, layout) = (text(1)?, text(2)?.to_owned());
    let number = parts.first().and_then(Value::as_number).ok_or_else(|| type_error(&parts, 0, &["number"]))?;
    let zone = match name {
        "" | "UTC" | "Local" => Zone::utc(),
        name => load(cx, name)?,
    };
    let too_big = || failure("timestamp too big");
    let float = Float::from_number(number).ok_or_else(too_big)?;
    let nanoseconds = float.is_integer().then(|| float.truncated()).and_then(|whole| whole.to_i64());
    Ok(Zoned { nanoseconds: nanoseconds.ok_or_else(too_big)?, zone, layout })
}

fn load(cx: &mut Context, name: &str) -> Result<Zone, BuiltinError> {
    if let Some(zone) = cx.caches.zones.get(name) {
        return Ok(zone.clone());
    }
    cx.spend(2_000)?;
    let zone = Zone::load(name).ok_or_else(|| failure(format!("unknown time zone {name}")))?;
    cx.caches.zones.insert(name.to_owned(), zone.clone());
    Ok(zone)
}

fn format_time(cx: &mut Context, args: &[Value]) -> Outcome {
    let time = zoned(cx, args, 0)?;
    let layout = match time.layout.as_str() {
        "" => RFC3339_NANO,
        name => named_layout(name),
    };
    cx.spend(layout.len().saturating_mul(30))?;
    if layout.len() > MAX_TEXT {
        return Err(failure("layout is too long"));
    }
    let offset = time.offset();
    let moment = Moment {
        civil: time.civil(),
        nanosecond: time.nanoseconds.rem_euclid(SECOND),
        offset: offset.map_or(0, |offset| offset.seconds),
        zone: offset.map_or("", |offset| &offset.name),
    };
    done(format(layout, &moment))
}

fn numbers(numbers: &[i64]) -> Outcome {
    done(numbers.iter().map(|number| Value::from(*number)).collect::<Vec<_>>())
}

fn date(cx: &mut Context, args: &[Value]) -> Outcome {
    let civil = zoned(cx, args, 0)?.civil();
    numbers(&[civil.year, civil.month, civil.day])
}

fn clock(cx: &mut Context, args: &[Value]) -> Outcome {
    let civil = zoned(cx, args, 0)?.civil();
    numbers(&[civil.hour, civil.minute, civil.second])
}

fn weekday_name(cx: &mut Context, args: &[Value]) -> Outcome {
    let day = weekday(zoned(cx, args, 0)?.civil().days());
    done(usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day)).copied().unwrap_or_default())
}

fn add_date(cx: &mut Context, args: &[Value]) -> Outcome {
    let time = zoned(cx, args, 0)?;
    let (years, months, days) = (int(args, 1)?, int(args, 2)?, int(args, 3)?);
    let outside = || failure("time outside of valid range");
    if [years, months, days].iter().any(|number| number.unsigned_abs() > 1_000_000) {
        return Err(outside());
    }
    let civil = time.civil();
    let date = days_from_civil(civil.year + years, civil.month + months, civil.day + days);
    let local = date * DAY + civil.hour * 3_600 + civil.minute * 60 + civil.second;
    to_nanoseconds(time.zone.seconds(local), time.nanoseconds.rem_euclid(SECOND))
}

fn diff(cx: &mut Context, args: &[Value]) -> Outcome {
    let (first, second) = (zoned(cx, args, 0)?, zoned(cx, args, 1)?);
    let second = Zoned { zone: first.zone.clone(), ..second };
    let (from, to) = if first.nanoseconds > second.nanoseconds { (second, first) } else { (first, second) };
    let (a, b) = (from.civil(), to.civil());
    let mut parts =
        [b.year - a.year, b.month - a.month, b.day - a.day, b.hour - a.hour, b.minute - a.minute, b.second - a.second];
    let [years, months, days, hours, minutes, seconds] = &mut parts;
    let carry = |low: &mut i64, size: i64, high: &mut i64| {
        if *low < 0 {
            *low += size;
            *high -= 1;
        }
    };
    carry(seconds, 60, minutes);
    carry(minutes, 60, hours);
    carry(hours, 24, days);
    carry(days, days_in_month(a.year, a.month), months);
    carry(months, 12, years);
    numbers(&parts)
}

/// Hours of the units that Go does not have.
fn hours_of(unit: &str) -> Option<f64> {
    match unit {
        "d" => Some(24.0),
        "w" => Some(168.0),
        "y" => Some(8_760.0),
        _ => None,
    }
}

fn unit_size(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    })
}

fn parse_duration_ns(cx: &mut Context, args: &[Value]) -> Outcome {
    let text = string(args, 0)?;
    cx.spend(text.len())?;
    match duration(text) {
        Some(nanoseconds) => done(nanoseconds),
        None => Err(failure(format!("time: invalid duration {}", Value::from(text)))),
    }
}

fn duration(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let size = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(size)?;
        let size = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(size)?;
        let nanoseconds = match hours_of(unit) {
            Some(hours) => {
                let hours = number.parse::<f64>().ok()? * hours;
                nanoseconds(&format!("{hours}"), unit_size("h")?)?
            }
            None => nanoseconds(number, unit_size(unit)?)?,
        };
        total = total.checked_add(nanoseconds).filter(|total| *total <= 1 << 63)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (true, Ok(total)) => Some(-total),
        (true, Err(_)) => Some(i64::MIN),
        (false, total) => total.ok(),
    }
}

/// A decimal number of units; the fraction is computed as Go does, in a float.
fn nanoseconds(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.get(..18).unwrap_or(fraction);
    let part: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_f64.powi(i32::try_from(digits.len()).ok()?);
    let part = (part as f64 * (unit as f64 / scale)) as u64;
    whole.checked_mul(unit)?.checked_add(part).filter(|total| *total <= 1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_days_weeks_and_years() {
        assert_eq!(duration("1d2h30m"), Some(95_400 * SECOND));
        assert_eq!(duration("-1.5h"), Some(-5_400 * SECOND));
        assert_eq!(duration("1y1w.5ns"), Some((8_760 + 168) * 3_600 * SECOND));
        for wrong in ["", "1", "h", "1x", "1..2s", "9223372036854775808ns", "-"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_read_and_written_by_layouts() {
        let read = |layout, text| parse(named_layout(layout), text);
        assert_eq!(read("01/02 03:04:05PM '06 -0700", "06/02 07:00:00PM '17 -0700"), Ok((1_496_455_200, 0)));
        assert_eq!(read("RFC822Z", "02 Jun 17 19:00 -0700"), Ok((1_496_455_200, 0)));
        assert_eq!(read("RFC3339", "1970-01-01T00:00:00.25-00:00"), Ok((0, 250_000_000)));
        assert_eq!(read("2006-002", "2024-366"), Ok((1_735_603_200, 0)));
        assert!(read("RFC3339", "2023-02-29T00:00:00Z").is_err());
        let args = [Value::from_json("[1670006453141828752, \"America/New_York\", \"RFC1123Z\"]").expect("json")];
        let text = format_time(&mut Context::new(0), &args).expect("format").expect("defined");
        assert_eq!(text, Value::from("Fri, 02 Dec 2022 13:40:53 -0500"));
    }
}
