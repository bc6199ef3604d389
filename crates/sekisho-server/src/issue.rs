//! Drives the gate: allowed or refused, then the leaf, then the signature (walk 1).

use std::sync::Arc;

use sekisho_identity::{
    Allowed, Caller, LeafTemplate, Limits, Refusal, Request, assemble_certificate, authorize, leaf_tbs,
};
use sekisho_jose::Mint;
use sekisho_ledger::{Kind, sha256_of};
use sekisho_runtime::now;
use sekisho_types::{Evidence, Signer, SpiffeId, UnixTime};

use crate::authorities::{AuthorityError, Signing};
use crate::counters::Counters;
use crate::domain::Domain;
use crate::journal::{Entry, JournalError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the ledger did not take the record, so nothing was issued: {0}")]
    Journal(#[from] JournalError),
    #[error("the identity could not be written: {0}")]
    Form(String),
}

/// An X.509-SVID and where its issuance stands in the log.
pub(crate) struct IssuedX509 {
    pub spiffe_id: SpiffeId,
    pub certificate: Vec<u8>,
    pub serial: String,
    pub not_after: UnixTime,
    pub log_index: u64,
}

pub(crate) struct IssuedJwt {
    pub spiffe_id: SpiffeId,
    pub token: String,
    pub issued_at: UnixTime,
    pub expires_at: UnixTime,
    pub log_index: u64,
}

/// Issues an X.509-SVID, or refuses; either is in the log when this returns.
pub(crate) async fn x509(
    domain: &Domain,
    caller: &Caller,
    request: Request<'_>,
    evidence: &[Evidence],
) -> Result<IssuedX509, IssueError> {
    let signing = domain.authorities.signing()?;
    let allowed = pass_gate(domain, &signing, caller, request, evidence).await?;
    // Positive and of full length (RFC 5280 §4.1.2.2): it begins with the time, so with 1 to 0x7f until the year 6429.
    let serial = domain.new_log_id();
    let leaf = LeafTemplate {
        spiffe_id: allowed.spiffe_id(),
        serial,
        not_before: allowed.not_before(),
        not_after: allowed.not_after(),
        public_key: allowed.public_key(),
        dns_names: allowed.dns_names(),
        claims: allowed.claims(),
    };
    let form = |e: sekisho_identity::ProfileError| IssueError::Form(e.to_string());
    let tbs = leaf_tbs(&leaf, &signing.issuer).map_err(form)?;
    let serial = hex::encode(serial);
    let entry = issuance(domain, format!("iss_{serial}"), "x509-svid", &allowed, caller, evidence);
    let entry = entry.text("tbs_sha256", hex::encode(sha256_of(&tbs))).text("authority", &signing.record.id);
    let log_index = entry.append(domain).await?;
    let signature = signing.x509_key.sign(&tbs).map_err(AuthorityError::from)?;
    let certificate = assemble_certificate(&tbs, signing.x509_key.algorithm(), &signature).map_err(form)?;
    Counters::count(&domain.counters.x509_svids_issued, 1);
    Ok(IssuedX509 {
        spiffe_id: allowed.spiffe_id().clone(),
        certificate,
        serial,
        not_after: allowed.not_after(),
        log_index,
    })
}

/// Issues a JWT-SVID, or refuses.
pub(crate) async fn jwt(
    domain: &Domain,
    caller: &Caller,
    request: Request<'_>,
    evidence: &[Evidence],
    audience: &[String],
) -> Result<IssuedJwt, IssueError> {
    let signing = domain.authorities.signing()?;
    let allowed = pass_gate(domain, &signing, caller, request, evidence).await?;
    let token_id = hex::encode(domain.new_log_id());
    let mint = Mint {
        key_id: &signing.jwt_key_id,
        subject: allowed.spiffe_id(),
        audience,
        issued_at: allowed.not_before(),
        expires_at: allowed.not_after(),
        jti: Some(&token_id),
    };
    let input = sekisho_jose::signing_input(&mint);
    let entry = issuance(domain, format!("iss_{token_id}"), "jwt-svid", &allowed, caller, evidence)
        .text("tbs_sha256", hex::encode(sha256_of(input.as_bytes())))
        .text("key_id", &signing.jwt_key_id)
        .personal("audience", audience.join(" "));
    let log_index = entry.append(domain).await?;
    let signature = signing.jwt_key.sign(input.as_bytes()).map_err(AuthorityError::from)?;
    let token = sekisho_jose::token(&input, &signature);
    let token = token.ok_or_else(|| IssueError::Form("the signature is not of P-256".into()))?;
    Counters::count(&domain.counters.jwt_svids_issued, 1);
    Ok(IssuedJwt {
        spiffe_id: allowed.spiffe_id().clone(),
        token,
        issued_at: allowed.not_before(),
        expires_at: allowed.not_after(),
        log_index,
    })
}

async fn pass_gate(
    domain: &Domain,
    signing: &Arc<Signing>,
    caller: &Caller,
    request: Request<'_>,
    evidence: &[Evidence],
) -> Result<Allowed, IssueError> {
    let limits = Limits {
        trust_domain: domain.name.clone(),
        x509_ttl_seconds: domain.settings.x509_ttl_seconds,
        jwt_ttl_seconds: domain.settings.jwt_ttl_seconds,
        node_ttl_seconds: domain.settings.agent_ttl_seconds,
        evidence_max_age_seconds: 60,
        authority_ends: signing.record.not_after,
    };
    match authorize(caller, request, evidence, &limits, now()) {
        Ok(allowed) => Ok(allowed),
        Err(refusal) => {
            let index = refused(domain, &caller_name(caller), &refusal.to_string()).await?;
            // Which selectors a process lacks stands in the leaf's commitment; the log of the program is read by more people.
            tracing::warn!(caller = %caller_name(caller), kind = refusal.kind(), log_index = index, "refused to issue");
            Err(refusal.into())
        }
    }
}

/// Logs a refusal; durable when this returns.
pub(crate) async fn refused(domain: &Domain, caller: &str, reason: &str) -> Result<u64, JournalError> {
    Counters::count(&domain.counters.refusals, 1);
    let entry = Entry::new(domain, Kind::Refusal).text("id", format!("ref_{}", hex::encode(domain.new_log_id())));
    entry.personal("caller", caller).personal("reason", reason).append(domain).await
}

fn issuance(
    domain: &Domain,
    id: String,
    what: &str,
    allowed: &Allowed,
    caller: &Caller,
    evidence: &[Evidence],
) -> Entry {
    let selectors: Vec<String> = evidence.iter().flat_map(|e| e.selectors.iter().map(ToString::to_string)).collect();
    let sources: Vec<&str> = evidence.iter().map(|e| e.source.as_str()).collect();
    let mut entry = Entry::new(domain, Kind::Issuance)
        .text("id", id)
        .text("what", what)
        .text("evidence", allowed.evidence().as_str())
        .text("attestors", sources.join(" "))
        .integer("not_after", allowed.not_after().seconds())
        .personal("spiffe_id", allowed.spiffe_id().to_string())
        .personal("caller", caller_name(caller))
        .personal("selectors", selectors.join("\n"));
    if let Some(id) = allowed.entry_id() {
        entry = entry.text("entry", id.as_str());
    }
    entry
}

pub(crate) fn caller_name(caller: &Caller) -> String {
    match caller {
        Caller::Server => "server".to_owned(),
        Caller::AttestedNode { id } => id.to_string(),
        Caller::Agent { id, .. } => id.get().to_string(),
    }
}
