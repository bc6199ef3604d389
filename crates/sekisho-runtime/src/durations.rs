//! Durations as people write them, `10m`, `1h30m`, `90d`; and times (RFC 3339).

use std::ops::RangeBounds;

use humantime::{parse_duration, parse_rfc3339_weak};
use sekisho_types::UnixTime;

const DAY: u32 = 24 * 60 * 60;
const UNITS: [(u64, char); 4] = [(DAY as u64, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

/// Reads a duration of whole seconds, as a parser of a flag or setting.
pub fn seconds_in(
    range: impl RangeBounds<u32> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let seconds = seconds(text)?;
        if range.contains(&seconds) { Ok(seconds) } else { Err(outside(&range)) }
    }
}

/// Reads a duration of whole days, at least one.
pub fn whole_days(text: &str) -> Result<u32, String> {
    let seconds = seconds(text)?;
    if seconds == 0 || seconds % DAY != 0 {
        return Err("it has to be whole days, for example `30d`".to_owned());
    }
    Ok(seconds / DAY)
}

/// A duration in its two largest units, as a person reads it: `3h59m`, `15m`, `42s`.
pub fn duration_text(seconds: u64) -> String {
    in_units(seconds, 2)
}

/// A duration as a flag takes it, to the second: `15m`, `1h30m`.
pub fn exact_duration(seconds: u64) -> String {
    in_units(seconds, UNITS.len())
}

/// The `most` largest units of a duration, without those that are zero.
fn in_units(seconds: u64, most: usize) -> String {
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let parts = UNITS.iter().skip(first).take(most).map(|(size, unit)| {
        let count = rest / size;
        rest %= size;
        if count > 0 || seconds == 0 { format!("{count}{unit}") } else { String::new() }
    });
    parts.collect()
}

/// Reads a time as `2027-01-31T12:00:00Z`, or a day as `2027-01-31T00:00:00`, in UTC (RFC 3339).
pub fn parse_time(text: &str) -> Result<UnixTime, String> {
    let read = parse_rfc3339_weak(text)
        .map_err(|_| "it has to be a time in UTC, for example `2027-01-31T12:00:00Z`".to_owned())?;
    let since = read.duration_since(std::time::UNIX_EPOCH).map_err(|_| "it is before 1970".to_owned())?;
    i64::try_from(since.as_nanos()).map(UnixTime::from_nanos).map_err(|_| "it is too late".to_owned())
}

fn seconds(text: &str) -> Result<u32, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "the unit is missing: write `{text}s` for seconds, or use m, h or d, for example `10m` or `1h30m`"
        ));
    }
    let example = "; write for example `90s`, `10m` or `1h30m`";
    let parsed = parse_duration(text).map_err(|error| format!("{error}{example}"))?;
    if parsed.subsec_nanos() != 0 {
        return Err("it has to be whole seconds".to_owned());
    }
    u32::try_from(parsed.as_secs()).map_err(|_| "it is too long".to_owned())
}

fn outside(range: &impl RangeBounds<u32>) -> String {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let least = match range.start_bound() {
        Included(least) | Excluded(least) => *least,
        Unbounded => 0,
    };
    match range.end_bound() {
        Included(most) | Excluded(most) => {
            format!("it has to be from {} to {}", exact_duration(least.into()), exact_duration((*most).into()))
        }
        Unbounded => format!("it has to be at least {}", exact_duration(least.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = seconds_in(20..=86_400);
        for (text, expected) in [("20s", 20), ("10m", 600), ("1h30m", 5400), ("1h 30m", 5400), ("1d", 86_400)] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("600", "`600s`"),
            ("19s", "from 20s to 1d"),
            ("2d", "from 20s to 1d"),
            ("1500ms", "whole seconds"),
            ("ten minutes", "`10m`"),
            ("", "`10m`"),
            ("10x", "`10m`"),
            ("200000d", "too long"),
        ] {
            assert!(read(text).is_err_and(|error| error.contains(part)), "{text}: {:?}", read(text));
        }
        assert!(seconds_in(1..)("0s").is_err_and(|error| error.contains("at least 1s")));
    }

    #[test]
    fn a_duration_is_shown_in_two_units() {
        for (seconds, shown, exact) in [
            (0, "0s", "0s"),
            (59, "59s", "59s"),
            (60, "1m", "1m"),
            (200, "3m20s", "3m20s"),
            (14_376, "3h59m", "3h59m36s"),
            (3601, "1h", "1h1s"),
            (86_400, "1d", "1d"),
            (30 * 86_400 + 7_300, "30d2h", "30d2h1m40s"),
        ] {
            assert_eq!((duration_text(seconds), exact_duration(seconds)), (shown.to_owned(), exact.to_owned()));
            assert_eq!(super::seconds(exact), Ok(u32::try_from(seconds).unwrap()), "{exact} is read back");
        }
    }

    #[test]
    fn a_time_is_read_as_it_is_shown() {
        let shown = UnixTime::from_seconds(1_800_000_000).to_string();
        assert_eq!(parse_time(&shown), Ok(UnixTime::from_seconds(1_800_000_000)));
        assert!(parse_time("1800000000").is_err() && parse_time("tomorrow").is_err());
    }

    #[test]
    fn retention_is_given_in_whole_days() {
        assert_eq!((whole_days("30d"), whole_days("48h"), whole_days("1w")), (Ok(30), Ok(2), Ok(7)));
        assert!(whole_days("36h").is_err() && whole_days("0d").is_err() && whole_days("30").is_err());
    }
}
