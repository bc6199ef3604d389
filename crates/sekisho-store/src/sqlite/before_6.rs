//! Entries as databases up to schema 5 held them, in a form of the store's own. Schema 6 holds the record that the log
//! commits to.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use sekisho_identity::{Entry, entry_record};
use sekisho_types::{EntryId, Selector, SelectorSet, SpiffeId, TrustDomain, UnixTime};
use serde::Deserialize;

use crate::StoreError;

/// Rows that are in memory at once.
const ROWS: usize = 1000;

#[derive(Deserialize)]
struct EntryForm {
    id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<String>,
    x509_ttl: u32,
    jwt_ttl: u32,
    federates_with: Vec<String>,
    admin: bool,
    downstream: bool,
    expires_at: Option<i64>,
    dns_names: Vec<String>,
    revision_number: i64,
    store_svid: bool,
    hint: String,
    created_at: i64,
    no_prefetch: bool,
    jwt_jti: bool,
}

/// Writes each entry in its new form.
pub(super) fn rewrite_entries(connection: &Connection) -> Result<(), StoreError> {
    let read = "SELECT td, id, value FROM entries WHERE (td, id) > (?1, ?2) ORDER BY td, id LIMIT ?3";
    let write = "UPDATE entries SET value = ?3 WHERE td = ?1 AND id = ?2";
    let mut last = (String::new(), String::new());
    loop {
        let mut statement = connection.prepare_cached(read)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = statement.query_map(params![last.0, last.1, ROWS], row)?;
        let found: Vec<(String, String, String)> = found.collect::<Result<_, _>>()?;
        let Some((td, id, _)) = found.last() else { return Ok(()) };
        last = (td.clone(), id.clone());
        for (td, id, text) in found {
            connection.prepare_cached(write)?.execute(params![td, id, entry_record(&entry(&text)?)])?;
        }
    }
}

fn entry(text: &str) -> Result<Entry, StoreError> {
    let form: EntryForm = serde_json::from_str(text).map_err(|_| StoreError::Damaged("entry"))?;
    converted(form).ok_or(StoreError::Damaged("entry"))
}

fn converted(form: EntryForm) -> Option<Entry> {
    let domains = form.federates_with.iter().map(|name| TrustDomain::parse(name).ok());
    let federates_with = domains.collect::<Option<BTreeSet<TrustDomain>>>()?;
    let selectors = form.selectors.iter().map(|text| Selector::parse(text).ok()).collect::<Option<SelectorSet>>()?;
    let (spiffe_id, parent_id) = (SpiffeId::parse(&form.spiffe_id).ok()?, SpiffeId::parse(&form.parent_id).ok()?);
    let mut entry = Entry::new(EntryId::parse(&form.id).ok()?, spiffe_id, parent_id, selectors);
    entry.x509_ttl_seconds = form.x509_ttl;
    entry.jwt_ttl_seconds = form.jwt_ttl;
    entry.federates_with = federates_with;
    entry.admin = form.admin;
    entry.downstream = form.downstream;
    entry.expires_at = form.expires_at.map(UnixTime::from_seconds);
    entry.dns_names = form.dns_names;
    entry.revision_number = form.revision_number;
    entry.store_svid = form.store_svid;
    entry.hint = form.hint;
    entry.created_at = UnixTime::from_nanos(form.created_at);
    entry.disable_x509_prefetch = form.no_prefetch;
    entry.jwt_include_jti = form.jwt_jti;
    Some(entry)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As schema 5 wrote it.
    pub(crate) const STORED: &str = r#"{"id":"ent_1","spiffe_id":"spiffe://example.org/a","parent_id":"spiffe://example.org/n",
        "selectors":["unix:path:/a b","unix:uid:7"],"x509_ttl":600,"jwt_ttl":60,"federates_with":["other.org"],"admin":true,
        "downstream":false,"expires_at":1900000000,"dns_names":["b.internal","a.internal"],"revision_number":3,"store_svid":true,
        "hint":"main","created_at":1800000000123456789,"no_prefetch":true,"jwt_jti":false}"#;

    #[test]
    fn each_field_is_where_it_was() {
        let record = entry_record(&entry(STORED).unwrap());
        for member in [
            r#""id":"ent_1""#,
            r#""spiffe_id":"spiffe://example.org/a""#,
            r#""parent_id":"spiffe://example.org/n""#,
            r#""selectors":["unix:path:/a b","unix:uid:7"]"#,
            r#""x509_ttl_seconds":600"#,
            r#""jwt_ttl_seconds":60"#,
            r#""federates_with":["other.org"]"#,
            r#""admin":true"#,
            r#""downstream":false"#,
            r#""expires_at":1900000000"#,
            r#""dns_names":["b.internal","a.internal"]"#,
            r#""revision_number":3"#,
            r#""store_svid":true"#,
            r#""hint":"main""#,
            r#""created_at_ns":1800000000123456789"#,
            r#""disable_x509_prefetch":true"#,
            r#""jwt_include_jti":false"#,
        ] {
            assert!(record.contains(member), "{member}: {record}");
        }
        assert!(entry(&STORED.replace("unix:uid:7", "unix")).is_err());
    }
}
