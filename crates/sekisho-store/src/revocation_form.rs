use sekisho_identity::{Revocation, Revoked};
use sekisho_types::{EntryId, Revision, SpiffeId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{StoreError, form};

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

/// Kind, value, and an entry's SPIFFE ID.
fn parts(what: &Revoked) -> (&'static str, String, Option<String>) {
    match what {
        Revoked::Entry { id, spiffe_id } => ("entry", id.as_str().to_owned(), Some(spiffe_id.to_string())),
        Revoked::Agent(id) => ("agent", id.to_string(), None),
        Revoked::SpiffeId(id) => ("spiffe_id", id.to_string(), None),
        Revoked::Serial(serial) => ("serial", serial.clone(), None),
    }
}

/// What is revoked, as the key of its row.
pub(crate) fn key(what: &Revoked) -> String {
    let (kind, value, spiffe_id) = parts(what);
    [kind, &value, spiffe_id.as_deref().unwrap_or("")].join(" ")
}

fn to_form(revocation: &Revocation) -> RevocationForm {
    let (kind, value, spiffe_id) = parts(&revocation.what);
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

/// Of what it is, and the revocation.
pub(crate) fn to_texts(revocation: &Revocation) -> Result<(String, String), StoreError> {
    Ok((key(&revocation.what), form::to_text(&to_form(revocation), "revocation")?))
}

pub(crate) fn from_text(text: &str) -> Result<Revocation, StoreError> {
    from_form(form::from_text(text, "revocation")?)
}

/// Reads a stored revocation; another program may have written to the database.
pub fn check_stored_revocation(text: &str) -> Result<(), StoreError> {
    from_text(text).map(drop)
}
