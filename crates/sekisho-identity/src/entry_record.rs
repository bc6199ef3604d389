//! The record of an entry, to which the log commits and which the store keeps: canonical JSON with a version and every
//! field. One entry has one text, so equal texts are equal entries.

use std::fmt;

use sekisho_types::{Selector, SelectorSet, parse_strict_json};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::Entry;

const VERSION: u64 = 1;
const VERSION_MEMBER: &str = "v";
/// More than the largest entry that [`Entry::check`] lets through.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A usual record is shorter.
const USUAL_BYTES: usize = 512;

/// Keys ascend, there is no white space, and numbers are integers (a subset of RFC 8785).
pub fn entry_record(entry: &Entry) -> String {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    // Memory does not fail, and every member has a text.
    let _infallible = Record(entry).serialize(&mut serde_json::Serializer::new(&mut text));
    String::from_utf8(text).unwrap_or_default()
}

/// Reads an entry's record. `None` unless it is of a version that we know and the one text of its entry.
pub fn entry_from_record(text: &str) -> Option<Entry> {
    entry_from_own_record(text).filter(|entry| text.len() <= MAX_BYTES && entry_record(entry) == text)
}

/// Reads an entry's record that we wrote ourselves. It does not check that the text is the canonical one, which would
/// double the time.
pub fn entry_from_own_record(text: &str) -> Option<Entry> {
    serde_json::from_str::<Owned>(text).ok().map(|read| read.0)
}

struct Record<'a>(&'a Entry);

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut members = to.serialize_map(None)?;
        let mut has_version = false;
        let mut write = |members: &mut S::SerializeMap, name: &'static str| {
            if !has_version && name > VERSION_MEMBER {
                has_version = true;
                members.serialize_entry(VERSION_MEMBER, &VERSION)?;
            }
            members.serialize_key(name)
        };
        self.0.write_members(&mut write, &mut members)?;
        members.end()
    }
}

struct Owned(Entry);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members).map(Self)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record of an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Entry, A::Error> {
        let mut version = None;
        let entry = Entry::read_members(members, |name, members| {
            if name != VERSION_MEMBER || version.is_some() {
                return Err(A::Error::custom("a member that is unknown, or stands twice"));
            }
            version = Some(members.next_value::<u64>()?);
            Ok(())
        })?;
        if version == Some(VERSION) { Ok(entry) } else { Err(A::Error::custom("an unknown version")) }
    }
}

/// Selectors as the log commits to them: a JSON array, since a value may hold any character.
pub fn selectors_record<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> String {
    Value::from(selector_texts(selectors)).to_string()
}

/// Reads the selectors of a leaf. Earlier releases joined them by newline.
pub fn selectors_from_record(text: &str) -> Option<SelectorSet> {
    let old = || text.lines().map(|line| Selector::parse(line).ok()).collect();
    if !text.starts_with('[') {
        return old();
    }
    let Ok(Value::Array(items)) = parse_strict_json(text.as_bytes(), MAX_BYTES) else { return None };
    items.iter().map(|item| Selector::parse(item.as_str()?).ok()).collect()
}

fn selector_texts<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<&'a str> {
    selectors.into_iter().map(Selector::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = Entry> {
        (0..40).filter_map(Entry::sample)
    }

    #[test]
    fn an_entry_record_is_complete() {
        for (entry, other) in samples().zip(samples().skip(1)) {
            let text = entry_record(&entry);
            assert_eq!(entry_from_record(&text).as_ref(), Some(&entry));
            let parsed = parse_strict_json(text.as_bytes(), MAX_BYTES).unwrap();
            assert_eq!(parsed.to_string(), text, "keys ascend, and nothing stands between them");
            for (field, changed) in entry.with_each_of(&other) {
                assert_ne!(changed, entry, "{field}: samples differ in each field");
                assert_ne!(entry_record(&changed), text, "{field} is not committed to");
                assert_eq!(entry_from_record(&entry_record(&changed)), Some(changed), "{field}");
            }
        }
        assert!(Entry::MEMBERS.is_sorted());
    }

    /// As every release has written it: leaves commit to these bytes.
    const RECORD: &str = concat!(
        r#"{"admin":true,"created_at_ns":1800000000123456789,"disable_x509_prefetch":true,"dns_names":["b.internal","a.internal"],"downstream":true,"#,
        r#""expires_at":1900000000,"federates_with":["other.org"],"hint":"main \"one\"","id":"ent_1","#,
        r#""jwt_include_jti":true,"jwt_ttl_seconds":60,"parent_id":"spiffe://example.org/spire/agent/one","#,
        r#""revision_number":3,"selectors":["unix:path:/a\nunix:uid:0","unix:uid:7"],"spiffe_id":"spiffe://example.org/a","#,
        r#""store_svid":true,"v":1,"x509_ttl_seconds":600}"#,
    );

    #[test]
    fn records_keep_their_bytes_and_have_one_text() {
        let entry = entry_from_record(RECORD).unwrap();
        assert_eq!((entry_record(&entry).as_str(), entry.hint.as_str()), (RECORD, "main \"one\""));
        assert_eq!((entry.selectors.len(), entry.x509_ttl_seconds, entry.jwt_ttl_seconds), (2, 600, 60));
        for other in [
            RECORD.replacen("\"v\":1", "\"v\":2", 1),
            RECORD.replacen('{', "{ ", 1),
            RECORD.replacen("\"admin\":true", "\"admin\":true,\"also\":1", 1),
            RECORD.replacen("\"admin\":true,", "", 1),
            RECORD.replacen("\"admin\":true", "\"admin\":true,\"admin\":true", 1),
            RECORD.replacen("\"v\":1", "\"v\":1,\"v\":1", 1),
            RECORD.replacen("\"v\":1,", "", 1),
            RECORD.replacen("\"hint\":\"main", "\"hint\":\"\\u006dain", 1),
            format!("{RECORD} "),
        ] {
            assert_eq!(entry_from_record(&other), None, "{other}");
        }
    }

    #[test]
    fn a_newline_does_not_split_a_selector() {
        let one: SelectorSet = [Selector::new("unix", "path:/a\nunix:uid:0").unwrap()].into();
        let two: SelectorSet = ["unix:path:/a", "unix:uid:0"].map(|text| Selector::parse(text).unwrap()).into();
        assert_ne!(selectors_record(&one), selectors_record(&two));
        assert_eq!(selectors_from_record(&selectors_record(&one)), Some(one));
        assert_eq!(selectors_from_record(&selectors_record(&two)), Some(two.clone()));
        // As earlier releases wrote it.
        assert_eq!(selectors_from_record("unix:path:/a\nunix:uid:0"), Some(two));
        assert_eq!(selectors_from_record(""), Some(SelectorSet::new()));
        assert_eq!(selectors_from_record("[\"unix\"]"), None);
    }
}
