//! How words are stored: an entry as its record, others in JSON forms that belong to this crate. A form that gains a
//! field gives it a default.

use sekisho_identity::{Entry, Node, entry_from_own_record};
use sekisho_types::{Selector, SelectorSet, SpiffeId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{AlertRecord, AlertSeverity, AuthorityRecord, ServerId, StoreError};

/// An entry is stored as the log commits to it.
pub(crate) fn entry_from_text(text: &str) -> Result<Entry, StoreError> {
    entry_from_own_record(text).ok_or(StoreError::Damaged("entry"))
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remembered: Option<String>,
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
        remembered: node.remembered.as_deref().map(str::to_owned),
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
        remembered: form.remembered.map(Into::into),
    })
}

#[derive(Serialize, Deserialize)]
struct AlertForm {
    id: String,
    at: i64,
    severity: String,
    kind: String,
    agent: String,
    reason: String,
    good_at: Option<i64>,
    /// Absent in records of an earlier release.
    #[serde(default)]
    earlier: u64,
}

pub(crate) fn alert_to_text(alert: &AlertRecord) -> Result<String, StoreError> {
    let form = AlertForm {
        id: alert.id.clone(),
        at: alert.at.nanos(),
        severity: alert.severity.as_str().to_owned(),
        kind: alert.kind.clone(),
        agent: alert.agent.to_string(),
        reason: alert.reason.clone(),
        good_at: alert.good_at.map(UnixTime::nanos),
        earlier: alert.earlier,
    };
    to_text(&form, "alert")
}

pub(crate) fn alert_from_text(text: &str) -> Result<AlertRecord, StoreError> {
    let damaged = || StoreError::Damaged("alert");
    let form: AlertForm = from_text(text, "alert")?;
    Ok(AlertRecord {
        id: form.id,
        at: UnixTime::from_nanos(form.at),
        severity: AlertSeverity::parse(&form.severity).ok_or_else(damaged)?,
        kind: form.kind,
        agent: SpiffeId::parse(&form.agent).map_err(|_| damaged())?,
        reason: form.reason,
        good_at: form.good_at.map(UnixTime::from_nanos),
        earlier: form.earlier,
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

/// Reads a stored entry, node or authority; another program may have written to the database.
pub fn check_stored(text: &str) -> Result<(), StoreError> {
    let authority = authority_from_text(text, ServerId::local());
    let read = [entry_from_text(text).map(drop), node_from_text(text).map(drop), authority.map(drop)];
    read.into_iter().find(Result::is_ok).unwrap_or(Err(StoreError::Damaged("row")))
}

pub(crate) fn to_text<T: Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Damaged(what))
}

pub(crate) fn from_text<T: for<'de> Deserialize<'de>>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Damaged(what))
}

fn selectors(texts: &[String]) -> Result<SelectorSet, StoreError> {
    texts.iter().map(|text| Selector::parse(text).map_err(|_| StoreError::Damaged("selector"))).collect()
}
