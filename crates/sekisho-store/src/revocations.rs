use std::sync::Arc;

use rusqlite::params;
use sekisho_identity::{Revocation, Revoked};
use sekisho_types::{EntryId, Revision, SpiffeId, TrustDomain, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{Batch, Change, Reader, StoreError, form};

#[derive(Serialize, Deserialize)]
struct RevocationForm {
    kind: String,
    value: String,
    /// Of an entry.
    spiffe_id: Option<String>,
    revision: u64,
    at: i64,
    until: i64,
    reason: String,
}

fn to_form(revocation: &Revocation) -> RevocationForm {
    let (kind, value, spiffe_id) = match &revocation.what {
        Revoked::Entry { id, spiffe_id } => ("entry", id.as_str().to_owned(), Some(spiffe_id.to_string())),
        Revoked::Agent(id) => ("agent", id.to_string(), None),
        Revoked::SpiffeId(id) => ("spiffe_id", id.to_string(), None),
        Revoked::Serial(serial) => ("serial", serial.clone(), None),
    };
    RevocationForm {
        kind: kind.to_owned(),
        value,
        spiffe_id,
        revision: revocation.revision.0,
        at: revocation.at.nanos(),
        until: revocation.until.nanos(),
        reason: revocation.reason.clone(),
    }
}

fn from_form(form: RevocationForm) -> Result<Revocation, StoreError> {
    let damaged = || StoreError::Damaged("revocation");
    let id = |text: &str| SpiffeId::parse(text).map_err(|_| damaged());
    let what = match (form.kind.as_str(), &form.spiffe_id) {
        ("entry", Some(spiffe_id)) => {
            Revoked::Entry { id: EntryId::parse(&form.value).map_err(|_| damaged())?, spiffe_id: id(spiffe_id)? }
        }
        ("agent", None) => Revoked::Agent(id(&form.value)?),
        ("spiffe_id", None) => Revoked::SpiffeId(id(&form.value)?),
        ("serial", None) => Revoked::Serial(form.value),
        _ => return Err(damaged()),
    };
    let (at, until) = (UnixTime::from_nanos(form.at), UnixTime::from_nanos(form.until));
    Ok(Revocation { what, revision: Revision(form.revision), at, until, reason: form.reason })
}

impl Batch<'_> {
    /// Revokes SVIDs issued before this batch's revision: in force with the change that revokes them, or not at all.
    /// Revocations that no SVID can need any more are deleted on the way.
    pub fn revoke(&mut self, what: Revoked, reason: &str, at: UnixTime, until: UnixTime) -> Result<(), StoreError> {
        let revision = self.revision()?;
        self.put_revocation(Revocation { what, revision, at, until, reason: reason.to_owned() })?;
        let sql = "DELETE FROM revocations WHERE td = ?1 AND until_ms < ?2";
        let td = self.trust_domain().as_str();
        self.connection().prepare_cached(sql)?.execute(params![td, at.plus_seconds(-3600).millis()])?;
        Ok(())
    }

    pub(crate) fn put_revocation(&mut self, revocation: Revocation) -> Result<(), StoreError> {
        let form = to_form(&revocation);
        let key = [form.kind.as_str(), &form.value, form.spiffe_id.as_deref().unwrap_or("")].join(" ");
        let (td, text) = (self.trust_domain().as_str(), form::to_text(&form, "revocation")?);
        // An earlier one of the same thing may end later.
        let sql = "INSERT INTO revocations (td, what, until_ms, value) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (td, what) DO UPDATE SET value = excluded.value, until_ms = max(until_ms, excluded.until_ms)";
        self.connection().prepare_cached(sql)?.execute(params![td, key, revocation.until.millis(), text])?;
        self.note(Change::Revoked(Arc::new(revocation)));
        Ok(())
    }
}

impl Reader<'_> {
    pub fn revocations(&self, td: &TrustDomain) -> Result<Vec<Revocation>, StoreError> {
        let mut statement =
            self.connection().prepare_cached("SELECT value, until_ms FROM revocations WHERE td = ?1")?;
        let rows = statement.query_map([td.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let read = |row: rusqlite::Result<(String, i64)>| {
            let (text, until_ms) = row?;
            let mut revocation = from_form(form::from_text(&text, "revocation")?)?;
            revocation.until = revocation.until.max(UnixTime::from_millis(until_ms));
            Ok(revocation)
        };
        rows.map(read).collect()
    }
}

/// Reads a stored revocation, as a database that somebody wrote to may hold it.
pub fn check_stored_revocation(text: &str) -> Result<(), StoreError> {
    from_form(form::from_text(text, "revocation")?).map(drop)
}
