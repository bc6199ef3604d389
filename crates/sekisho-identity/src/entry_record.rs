//! An entry as the log commits to it: canonical JSON with a version, every field and nothing else. One entry has one text,
//! so equal texts are equal entries.

use std::collections::BTreeSet;

use sekisho_types::{EntryId, Selector, SpiffeId, TrustDomain, UnixTime, parse_strict_json};
use serde_json::{Map, Value, json};

use crate::Entry;

const VERSION: u64 = 1;
/// More than the largest entry that [`Entry::check`] lets through.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Keys ascend, there is no white space, and numbers are integers (a subset of RFC 8785).
pub fn entry_record(entry: &Entry) -> String {
    json!({
        "admin": entry.admin,
        "created_at_ns": entry.created_at.nanos(),
        "disable_x509_prefetch": entry.disable_x509_prefetch,
        "dns_names": entry.dns_names,
        "downstream": entry.downstream,
        "expires_at": entry.expires_at.map(UnixTime::seconds),
        "federates_with": entry.federates_with.iter().map(TrustDomain::as_str).collect::<Vec<_>>(),
        "hint": entry.hint,
        "id": entry.id.as_str(),
        "jwt_include_jti": entry.jwt_include_jti,
        "jwt_ttl_seconds": entry.jwt_ttl_seconds,
        "parent_id": entry.parent_id.to_string(),
        "revision_number": entry.revision_number,
        "selectors": selector_texts(&entry.selectors),
        "spiffe_id": entry.spiffe_id.to_string(),
        "store_svid": entry.store_svid,
        "v": VERSION,
        "x509_ttl_seconds": entry.x509_ttl_seconds,
    })
    .to_string()
}

/// Reads an entry's record. `None` unless it is of a version that we know and the one text of its entry.
pub fn entry_from_record(text: &str) -> Option<Entry> {
    let Ok(Value::Object(members)) = parse_strict_json(text.as_bytes(), MAX_BYTES) else { return None };
    let entry = read(&members)?;
    (members.get("v")?.as_u64()? == VERSION && entry_record(&entry) == text).then_some(entry)
}

fn read(members: &Map<String, Value>) -> Option<Entry> {
    let flag = |name: &str| members.get(name)?.as_bool();
    let text = |name: &str| members.get(name)?.as_str();
    let integer = |name: &str| members.get(name)?.as_i64();
    let seconds = |name: &str| u32::try_from(integer(name)?).ok();
    let texts = |name: &str| members.get(name)?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    let domains = texts("federates_with")?.into_iter().map(|name| TrustDomain::parse(name).ok());
    let selectors = texts("selectors")?.into_iter().map(|text| Selector::parse(text).ok());
    Some(Entry {
        id: EntryId::parse(text("id")?).ok()?,
        spiffe_id: SpiffeId::parse(text("spiffe_id")?).ok()?,
        parent_id: SpiffeId::parse(text("parent_id")?).ok()?,
        selectors: selectors.collect::<Option<_>>()?,
        x509_ttl_seconds: seconds("x509_ttl_seconds")?,
        jwt_ttl_seconds: seconds("jwt_ttl_seconds")?,
        federates_with: domains.collect::<Option<_>>()?,
        admin: flag("admin")?,
        downstream: flag("downstream")?,
        expires_at: match members.get("expires_at")? {
            Value::Null => None,
            end => Some(UnixTime::from_seconds(end.as_i64()?)),
        },
        dns_names: texts("dns_names")?.into_iter().map(str::to_owned).collect(),
        revision_number: integer("revision_number")?,
        store_svid: flag("store_svid")?,
        hint: text("hint")?.to_owned(),
        created_at: UnixTime::from_nanos(integer("created_at_ns")?),
        disable_x509_prefetch: flag("disable_x509_prefetch")?,
        jwt_include_jti: flag("jwt_include_jti")?,
    })
}

/// Selectors as the log commits to them: a JSON array, since a value may hold any character.
pub fn selectors_record<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> String {
    Value::from(selector_texts(selectors)).to_string()
}

/// Reads what leaves say of selectors. Earlier releases joined them by newline.
pub fn selectors_from_record(text: &str) -> Option<BTreeSet<Selector>> {
    let old = || text.lines().map(|line| Selector::parse(line).ok()).collect();
    if !text.starts_with('[') {
        return old();
    }
    let Ok(Value::Array(items)) = parse_strict_json(text.as_bytes(), MAX_BYTES) else { return None };
    items.iter().map(|item| Selector::parse(item.as_str()?).ok()).collect()
}

fn selector_texts<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<String> {
    selectors.into_iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            id: EntryId::parse("ent_1").unwrap(),
            spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            parent_id: SpiffeId::parse("spiffe://example.org/spire/agent/one").unwrap(),
            selectors: [Selector::new("unix", "path:/a\nunix:uid:0").unwrap(), Selector::parse("unix:uid:7").unwrap()]
                .into(),
            x509_ttl_seconds: 600,
            jwt_ttl_seconds: 60,
            federates_with: [TrustDomain::parse("other.org").unwrap()].into(),
            admin: true,
            downstream: true,
            expires_at: Some(UnixTime::from_seconds(1_900_000_000)),
            dns_names: vec!["b.internal".into(), "a.internal".into()],
            revision_number: 3,
            store_svid: true,
            hint: "main \"one\"".into(),
            created_at: UnixTime::from_nanos(1_800_000_000_123_456_789),
            disable_x509_prefetch: true,
            jwt_include_jti: true,
        }
    }

    #[test]
    fn every_field_of_an_entry_is_in_its_record_and_a_record_has_one_form() {
        let text = entry_record(&entry());
        assert_eq!(entry_from_record(&text), Some(entry()));
        let changes: [fn(&mut Entry); 17] = [
            |entry| entry.id = EntryId::parse("ent_2").unwrap(),
            |entry| entry.spiffe_id = SpiffeId::parse("spiffe://example.org/b").unwrap(),
            |entry| entry.parent_id = SpiffeId::parse("spiffe://example.org/b").unwrap(),
            |entry| entry.selectors = [Selector::parse("unix:uid:7").unwrap()].into(),
            |entry| entry.x509_ttl_seconds = 601,
            |entry| entry.jwt_ttl_seconds = 61,
            |entry| entry.federates_with.clear(),
            |entry| entry.admin = false,
            |entry| entry.downstream = false,
            |entry| entry.expires_at = None,
            |entry| entry.dns_names.reverse(),
            |entry| entry.revision_number = 4,
            |entry| entry.store_svid = false,
            |entry| entry.hint.clear(),
            |entry| entry.created_at = UnixTime::from_nanos(1),
            |entry| entry.disable_x509_prefetch = false,
            |entry| entry.jwt_include_jti = false,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = entry();
            change(&mut other);
            assert_ne!(entry_record(&other), text, "change {number} is not committed to");
            assert_eq!(entry_from_record(&entry_record(&other)), Some(other), "change {number}");
        }
        for other in [
            text.replacen("\"v\":1", "\"v\":2", 1),
            text.replacen('{', "{ ", 1),
            text.replacen("\"admin\":true", "\"admin\":true,\"also\":1", 1),
            text.replacen("\"admin\":true,", "", 1),
            format!("{text} "),
        ] {
            assert_eq!(entry_from_record(&other), None, "{other}");
        }
    }

    #[test]
    fn a_newline_in_a_selector_makes_no_second_selector() {
        let one: BTreeSet<Selector> = [Selector::new("unix", "path:/a\nunix:uid:0").unwrap()].into();
        let two: BTreeSet<Selector> = ["unix:path:/a", "unix:uid:0"].map(|text| Selector::parse(text).unwrap()).into();
        assert_ne!(selectors_record(&one), selectors_record(&two));
        assert_eq!(selectors_from_record(&selectors_record(&one)), Some(one));
        assert_eq!(selectors_from_record(&selectors_record(&two)), Some(two.clone()));
        // As earlier releases wrote it.
        assert_eq!(selectors_from_record("unix:path:/a\nunix:uid:0"), Some(two));
        assert_eq!(selectors_from_record(""), Some(BTreeSet::new()));
        assert_eq!(selectors_from_record("[\"unix\"]"), None);
    }
}
