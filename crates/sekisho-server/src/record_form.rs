//! What the server reads of a record made on a node: its name, its time and its effect.

use bytes::Bytes;
use sekisho_disk::RecordKept;
use serde::Deserialize;

/// What a record can be, by its class in the segments.
pub(crate) const CLASSES: [&str; 3] = ["allow", "deny", "refusal"];

/// A record's name: `dec_…` for decisions, `ref_…` for refusals, and 32 digits that begin with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordName {
    pub key: u128,
    is_refusal: bool,
}

impl RecordName {
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (kind, digits) = id.split_once('_').filter(|(_, digits)| digits.len() == 32)?;
        let is_refusal = ["dec", "ref"].iter().position(|known| *known == kind)? == 1;
        let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let key = u128::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        Some(Self { key, is_refusal })
    }

    pub(crate) fn names(self, kept: &RecordKept) -> bool {
        kept.key == self.key && (class_name(kept.class) == "refusal") == self.is_refusal
    }
}

/// The time in a record's key, in Unix milliseconds.
pub(crate) fn milliseconds(key: u128) -> i64 {
    i64::try_from(key >> 80).unwrap_or(i64::MAX)
}

pub(crate) fn class_name(class: u8) -> &'static str {
    CLASSES.get(usize::from(class)).copied().unwrap_or("refusal")
}

pub(crate) fn class_of(name: &str) -> Option<u8> {
    CLASSES.iter().position(|known| *known == name)?.try_into().ok()
}

/// The name that a kept record has.
pub(crate) fn name_of(kept: &RecordKept) -> String {
    let kind = if class_name(kept.class) == "refusal" { "ref" } else { "dec" };
    format!("{kind}_{:032x}", kept.key)
}

#[derive(Deserialize)]
struct Head<'a> {
    id: &'a str,
    at_ms: i64,
    kind: &'a str,
    effect: Option<&'a str>,
    #[serde(borrow)]
    input: Option<HeadInput<'a>>,
}

#[derive(Deserialize)]
struct HeadInput<'a> {
    destination: &'a str,
}

/// Reads a record as a node sends it, and whose decision it says it is; `None` if it is not of the form. An agent's own
/// refusals are about nobody yet.
pub(crate) fn read(record: Bytes) -> Option<(RecordKept, Option<String>)> {
    let head: Head<'_> = serde_json::from_str(std::str::from_utf8(&record).ok()?).ok()?;
    let class = match (head.kind, head.effect) {
        ("decision", Some(effect @ ("allow" | "deny"))) => class_of(effect)?,
        ("refusal", None) => class_of("refusal")?,
        _ => return None,
    };
    // A node names its own records, and nothing that the server names; a name that lies about its time would not be found.
    let name = RecordName::parse(head.id).filter(|name| milliseconds(name.key) == head.at_ms)?;
    let destination = head.input.map(|input| input.destination.to_owned());
    let kept = RecordKept { key: name.key, class, record: record.clone() };
    (name.names(&kept) && (destination.is_some() || head.kind == "refusal")).then_some((kept, destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_it_is_and_when_or_is_refused() {
        let read = |id: &str, rest: &str| read(format!("{{\"id\":\"{id}\",{rest}}}").into());
        let (decision, refusal) = ("dec_00000000000500112233445566778899", "ref_00000000000500112233445566778899");
        let input = r#""input":{"destination":"spiffe://td/a"}"#;
        let (kept, about) = read(decision, &format!(r#""at_ms":5,"kind":"decision","effect":"deny",{input}"#)).unwrap();
        assert_eq!(about.unwrap(), "spiffe://td/a");
        assert_eq!((kept.class, name_of(&kept).as_str()), (1, decision));
        assert!(read(refusal, r#""at_ms":5,"kind":"refusal""#).is_some());
        for (id, rest) in [
            (decision, &format!(r#""at_ms":6,"kind":"decision","effect":"deny",{input}"#)),
            (decision, &format!(r#""at_ms":5,"kind":"decision","effect":"maybe",{input}"#)),
            (decision, &r#""at_ms":5,"kind":"decision","effect":"deny""#.to_owned()),
            (decision, &r#""at_ms":5,"kind":"decision""#.to_owned()),
            (decision, &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            (refusal, &format!(r#""at_ms":5,"kind":"decision","effect":"deny",{input}"#)),
            ("att_00000000000500112233445566778899", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_0000000000050011223344556677889", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_+0000000000500112233445566778899", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_0000000000050011223344556677889A", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
        ] {
            assert!(read(id, rest).is_none(), "{id} {rest}");
        }
    }
}
