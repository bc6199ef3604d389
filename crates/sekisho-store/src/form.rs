//! How words are stored: JSON forms that belong to this crate. A form that gains a field gives it a default.

use std::collections::BTreeSet;

use sekisho_identity::{Entry, Node};
use sekisho_types::{EntryId, Selector, SpiffeId, TrustDomain, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{AuthorityRecord, ServerId, StoreError};

#[derive(Serialize, Deserialize)]
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

pub(crate) fn entry_to_text(entry: &Entry) -> Result<String, StoreError> {
    let form = EntryForm {
        id: entry.id.as_str().to_owned(),
        spiffe_id: entry.spiffe_id.to_string(),
        parent_id: entry.parent_id.to_string(),
        selectors: entry.selectors.iter().map(ToString::to_string).collect(),
        x509_ttl: entry.x509_ttl_seconds,
        jwt_ttl: entry.jwt_ttl_seconds,
        federates_with: entry.federates_with.iter().map(ToString::to_string).collect(),
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at.map(UnixTime::seconds),
        dns_names: entry.dns_names.clone(),
        revision_number: entry.revision_number,
        store_svid: entry.store_svid,
        hint: entry.hint.clone(),
        created_at: entry.created_at.nanos(),
        no_prefetch: entry.disable_x509_prefetch,
        jwt_jti: entry.jwt_include_jti,
    };
    to_text(&form, "entry")
}

pub(crate) fn entry_from_text(text: &str) -> Result<Entry, StoreError> {
    let form: EntryForm = from_text(text, "entry")?;
    let damaged = |_| StoreError::Damaged("entry");
    let domains = form.federates_with.iter().map(|name| TrustDomain::parse(name).map_err(damaged));
    Ok(Entry {
        id: EntryId::parse(&form.id).map_err(|_| StoreError::Damaged("entry"))?,
        spiffe_id: SpiffeId::parse(&form.spiffe_id).map_err(damaged)?,
        parent_id: SpiffeId::parse(&form.parent_id).map_err(damaged)?,
        selectors: selectors(&form.selectors)?,
        x509_ttl_seconds: form.x509_ttl,
        jwt_ttl_seconds: form.jwt_ttl,
        federates_with: domains.collect::<Result<_, _>>()?,
        admin: form.admin,
        downstream: form.downstream,
        expires_at: form.expires_at.map(UnixTime::from_seconds),
        dns_names: form.dns_names,
        revision_number: form.revision_number,
        store_svid: form.store_svid,
        hint: form.hint,
        created_at: UnixTime::from_nanos(form.created_at),
        disable_x509_prefetch: form.no_prefetch,
        jwt_include_jti: form.jwt_jti,
    })
}

#[derive(Serialize, Deserialize)]
struct NodeForm {
    id: String,
    attestation_type: String,
    serial: String,
    previous_serial: Option<String>,
    expires_at: i64,
    selectors: Vec<String>,
    banned: bool,
    can_reattest: bool,
    version: String,
    /// Absent in records of an earlier release.
    #[serde(default)]
    attested_at: i64,
    #[serde(default)]
    evidence_ends_at: Option<i64>,
}

pub(crate) fn node_to_text(node: &Node) -> Result<String, StoreError> {
    let form = NodeForm {
        id: node.id.to_string(),
        attestation_type: node.attestation_type.clone(),
        serial: node.serial.clone(),
        previous_serial: node.previous_serial.clone(),
        expires_at: node.expires_at.nanos(),
        selectors: node.selectors.iter().map(ToString::to_string).collect(),
        banned: node.banned,
        can_reattest: node.can_reattest,
        version: node.version.clone(),
        attested_at: node.attested_at.nanos(),
        evidence_ends_at: node.evidence_ends_at.map(UnixTime::nanos),
    };
    to_text(&form, "node")
}

pub(crate) fn node_from_text(text: &str) -> Result<Node, StoreError> {
    let form: NodeForm = from_text(text, "node")?;
    Ok(Node {
        id: SpiffeId::parse(&form.id).map_err(|_| StoreError::Damaged("node"))?,
        attestation_type: form.attestation_type,
        serial: form.serial,
        previous_serial: form.previous_serial,
        expires_at: UnixTime::from_nanos(form.expires_at),
        selectors: selectors(&form.selectors)?,
        banned: form.banned,
        can_reattest: form.can_reattest,
        version: form.version,
        attested_at: UnixTime::from_nanos(form.attested_at),
        evidence_ends_at: form.evidence_ends_at.map(UnixTime::from_nanos),
    })
}

#[derive(Serialize, Deserialize)]
struct AuthorityForm {
    id: String,
    slot: String,
    not_before: i64,
    not_after: i64,
    signed_until: i64,
    certificate: String,
    serial: String,
    jwt_public_key: String,
}

pub(crate) fn authority_to_text(authority: &AuthorityRecord) -> Result<String, StoreError> {
    let form = AuthorityForm {
        id: authority.id.clone(),
        slot: authority.slot.clone(),
        not_before: authority.not_before.nanos(),
        not_after: authority.not_after.nanos(),
        signed_until: authority.signed_until.nanos(),
        certificate: hex::encode(&authority.certificate),
        serial: hex::encode(authority.serial),
        jwt_public_key: hex::encode(&authority.jwt_public_key),
    };
    to_text(&form, "authority")
}

pub(crate) fn authority_from_text(text: &str, server: ServerId) -> Result<AuthorityRecord, StoreError> {
    let form: AuthorityForm = from_text(text, "authority")?;
    let bytes = |text: &str| hex::decode(text).map_err(|_| StoreError::Damaged("authority"));
    Ok(AuthorityRecord {
        id: form.id,
        server,
        slot: form.slot,
        not_before: UnixTime::from_nanos(form.not_before),
        not_after: UnixTime::from_nanos(form.not_after),
        signed_until: UnixTime::from_nanos(form.signed_until),
        certificate: bytes(&form.certificate)?,
        serial: bytes(&form.serial)?.try_into().map_err(|_| StoreError::Damaged("authority"))?,
        jwt_public_key: bytes(&form.jwt_public_key)?,
    })
}

/// Reads a stored entry, node or authority, as a database that somebody wrote to may hold it.
pub fn check_stored(text: &str) -> Result<(), StoreError> {
    let authority = authority_from_text(text, ServerId::local());
    let read = [entry_from_text(text).map(drop), node_from_text(text).map(drop), authority.map(drop)];
    read.into_iter().find(Result::is_ok).unwrap_or(Err(StoreError::Damaged("row")))
}

/// A form in which an entry is stored.
pub fn stored_entry(entry: &Entry) -> Result<String, StoreError> {
    entry_to_text(entry)
}

pub(crate) fn to_text<T: Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Damaged(what))
}

pub(crate) fn from_text<T: for<'de> Deserialize<'de>>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Damaged(what))
}

fn selectors(texts: &[String]) -> Result<BTreeSet<Selector>, StoreError> {
    texts.iter().map(|text| Selector::parse(text).map_err(|_| StoreError::Damaged("selector"))).collect()
}
