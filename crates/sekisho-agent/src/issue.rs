//! SVIDs for processes: from the cache while they are fresh, else from the server with the process's evidence.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sekisho_host::Measurement;
use sekisho_identity::{Entry, csr_der, renew_at_with_jitter};
use sekisho_keys::MemoryKey;
use sekisho_net::Identity;
use sekisho_proto::server::node_client::NodeClient;
use sekisho_proto::spire::svid::v1::{
    BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, svid_client::SvidClient,
};
use sekisho_proto::types::permission_denied_details::Reason;
use sekisho_proto::{selectors_to_wire, server as wire, status_reason, types};
use sekisho_runtime::{now, random_u32};
use sekisho_types::{Digest, SignatureAlgorithm, Signer, UnixTime};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::core::{Core, HeldKey, HeldSvid};
use crate::revocations;

/// SVIDs kept at most; the ones that end first are dropped first.
const MAX_HELD: usize = 10_000;

/// How long the server may take to answer: little when a valid SVID serves meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_WITH_ONE: Duration = Duration::from_secs(2);

fn late(_: tokio::time::error::Elapsed) -> Status {
    Status::deadline_exceeded("the server did not answer in time")
}

/// The X.509-SVID of `entry` for a process measured at `at`.
pub(crate) async fn x509(
    core: &Arc<Core>,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
) -> Result<Arc<HeldSvid>, Status> {
    let key: HeldKey = (entry.id.clone(), measurement_digest(measured));
    if let Some(held) = fresh(core, &key, entry) {
        return Ok(held);
    }
    let asked_at = Instant::now();
    let turn = core.issuing.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
    let mut last = turn.lock().await;
    if let Some(held) = fresh(core, &key, entry) {
        return Ok(held);
    }
    // Those that waited while another asked share its result.
    let shared = last.as_ref().filter(|(failed_at, _)| *failed_at >= asked_at).map(|(_, status)| status.clone());
    let issued = match shared {
        Some(status) => Err(status),
        // What is asked of a server that is away reaches no log.
        None => match if *core.connected.borrow() { core.shares.x509(measured.uid, now()) } else { Ok(()) } {
            Ok(()) => again(|| ask_x509(core, entry, measured, at, valid(core, &key, entry).is_some())).await,
            Err(status) => Err(status),
        },
    };
    let result = match issued {
        Ok(held) => {
            keep(core, key.clone(), held.clone());
            not_revoked(core, &key, held)
        }
        Err(status) => {
            *last = Some((Instant::now(), status.clone()));
            if is_refusal(&status) {
                core.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
            // What is held and valid goes on serving while the server cannot answer (law L14); a refusal is final.
            valid(core, &key, entry).ok_or(status)
        }
    };
    drop(last);
    let mut issuing = core.issuing.lock().unwrap_or_else(PoisonError::into_inner);
    // The map's own and ours: no other waits.
    if Arc::strong_count(&turn) <= 2 {
        issuing.remove(&key);
    }
    result
}

/// An SVID that was revoked on its way here is not served.
fn not_revoked(core: &Core, key: &HeldKey, held: Arc<HeldSvid>) -> Result<Arc<HeldSvid>, Status> {
    let all = core.known(|known| known.revocations.clone());
    let revoked = all.and_then(|all| revocations::find(&all, &held));
    let Some(why) = revoked else { return Ok(held) };
    core.held.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    Err(Status::unavailable(format!("the SVID was revoked while it was issued, since {why}; ask again")))
}

fn valid(core: &Core, key: &HeldKey, entry: &Entry) -> Option<Arc<HeldSvid>> {
    let held = core.held.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    held.filter(|held| held.not_after > now() && held.spiffe_id == entry.spiffe_id)
}

/// Held, not yet due, and of the entry as it is.
fn fresh(core: &Core, key: &HeldKey, entry: &Entry) -> Option<Arc<HeldSvid>> {
    valid(core, key, entry).filter(|held| held.renew_at > now() && held.entry_revision == entry.revision_number)
}

/// Whether the server has decided against it. Every other failure is an outage, and takes nothing away.
pub(crate) fn is_refusal(status: &Status) -> bool {
    !has_passed(status) && matches!(status.code(), Code::PermissionDenied | Code::NotFound | Code::InvalidArgument)
}

/// What was asked on the connection of an SVID that has been replaced since, or for an entry that changed meanwhile.
fn has_passed(status: &Status) -> bool {
    status.code() == Code::Aborted || status_reason(status) == Some(Reason::AgentNotActive)
}

/// Asks once more where the first answer has passed.
async fn again<T, F: Future<Output = Result<T, Status>>>(ask: impl Fn() -> F) -> Result<T, Status> {
    match ask().await {
        Err(status) if has_passed(&status) => {
            // The renewal that replaced the SVID is about to put the new connection in place.
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask().await
        }
        answer => answer,
    }
}

async fn ask_x509(
    core: &Arc<Core>,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
    holds_a_valid_one: bool,
) -> Result<Arc<HeldSvid>, Status> {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(|e| Status::internal(e.to_string()))?;
    let csr = csr_der(&key, Some(&entry.spiffe_id)).map_err(|e| Status::internal(e.to_string()))?;
    let item = wire::issue_x509_request::Item {
        entry_id: entry.id.as_str().to_owned(),
        csr: csr.clone(),
        evidence: Some(evidence(measured, at)),
    };
    let limit = if holds_a_valid_one { PATIENCE_WITH_ONE } else { PATIENCE };
    let mut node = NodeClient::new(core.server());
    let asked = tokio::time::timeout(limit, node.issue_x509(wire::IssueX509Request { items: vec![item] }));
    let (status, svid, log_index) = match asked.await.map_err(late)? {
        Ok(answer) => {
            let result = answer.into_inner().results.into_iter().next();
            let result = result.ok_or_else(|| Status::internal("the server answered nothing"))?;
            (result.status, result.svid, result.log_index)
        }
        // A server that knows only SPIRE's API: it issues by node evidence alone.
        Err(status) if status.code() == Code::Unimplemented => {
            let params = vec![NewX509svidParams { entry_id: entry.id.as_str().to_owned(), csr }];
            let request = BatchNewX509svidRequest { params };
            let mut svid = SvidClient::new(core.server());
            let asked = tokio::time::timeout(limit, svid.batch_new_x509svid(request));
            let answer = asked.await.map_err(late)??;
            let result = answer.into_inner().results.into_iter().next();
            let result = result.ok_or_else(|| Status::internal("the server answered nothing"))?;
            (result.status, result.svid, 0)
        }
        Err(status) => return Err(status),
    };
    held_svid(entry, &key, status, svid, log_index)
}

fn held_svid(
    entry: &Entry,
    key: &MemoryKey,
    status: Option<types::Status>,
    svid: Option<types::X509svid>,
    log_index: u64,
) -> Result<Arc<HeldSvid>, Status> {
    if let Some(status) = status.filter(|status| status.code != Code::Ok as i32) {
        return Err(Status::new(Code::from_i32(status.code), status.message));
    }
    let svid = svid.ok_or_else(|| Status::internal("the server sent no SVID"))?;
    let leaf = svid.cert_chain.first().ok_or_else(|| Status::internal("the SVID has no certificate"))?;
    let facts = sekisho_identity::leaf_facts(leaf).map_err(|e| Status::internal(e.to_string()))?;
    if facts.spiffe_id != entry.spiffe_id || facts.public_key != key.public_key_der() {
        return Err(Status::internal("the server sent an SVID for another ID or another key"));
    }
    Ok(Arc::new(HeldSvid {
        spiffe_id: facts.spiffe_id,
        identity: Identity { chain: svid.cert_chain, key: key.pkcs8().clone() },
        not_after: facts.not_after,
        renew_at: renew_at_with_jitter(facts.not_before, facts.not_after, random_u32()),
        hint: entry.hint.clone(),
        log_index,
        entry_revision: entry.revision_number,
    }))
}

fn keep(core: &Core, key: HeldKey, svid: Arc<HeldSvid>) {
    let mut held = core.held.lock().unwrap_or_else(PoisonError::into_inner);
    held.insert(key, svid);
    let now = now();
    held.retain(|_, svid| svid.not_after > now);
    while held.len() > MAX_HELD {
        let first = held.iter().min_by_key(|(_, svid)| svid.not_after).map(|(key, _)| key.clone());
        first.map(|key| held.remove(&key));
    }
    drop(held);
    core.save_soon();
}

/// A JWT-SVID of `entry` for `audience`.
pub(crate) async fn jwt(
    core: &Core,
    entry: &Entry,
    audience: &[String],
    measured: &Measurement,
    at: UnixTime,
) -> Result<types::Jwtsvid, Status> {
    again(|| ask_jwt(core, entry, audience, measured, at)).await
}

async fn ask_jwt(
    core: &Core,
    entry: &Entry,
    audience: &[String],
    measured: &Measurement,
    at: UnixTime,
) -> Result<types::Jwtsvid, Status> {
    let entry_id = entry.id.as_str().to_owned();
    let request = wire::IssueJwtRequest {
        entry_id: entry_id.clone(),
        audience: audience.to_vec(),
        evidence: Some(evidence(measured, at)),
    };
    let mut node = NodeClient::new(core.server());
    let svid = match tokio::time::timeout(PATIENCE, node.issue_jwt(request)).await.map_err(late)? {
        Ok(answer) => answer.into_inner().svid,
        Err(status) if status.code() == Code::Unimplemented => {
            let request = NewJwtsvidRequest { entry_id, audience: audience.to_vec() };
            let mut svid = SvidClient::new(core.server());
            tokio::time::timeout(PATIENCE, svid.new_jwtsvid(request)).await.map_err(late)??.into_inner().svid
        }
        Err(status) => return Err(status),
    };
    svid.ok_or_else(|| Status::internal("the server sent no token"))
}

fn evidence(measured: &Measurement, at: UnixTime) -> wire::ProcessEvidence {
    wire::ProcessEvidence {
        source: measured.attestors.clone(),
        measured_at_ns: at.nanos(),
        selectors: selectors_to_wire(&measured.selectors),
    }
}

/// Processes with equal selectors are alike to every entry and every claim.
fn measurement_digest(measured: &Measurement) -> Digest {
    // Each selector ends where it says: a value may hold any character.
    sekisho_evidence::token_hash(&sekisho_identity::selectors_record(&measured.selectors))
}
