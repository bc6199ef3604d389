//! SVIDs for processes: from the cache while they are fresh, else from the server with the process's evidence.

use std::sync::Arc;
use std::time::Duration;

use sekisho_host::Measurement;
use sekisho_identity::{Entry, csr_der, renew_at_with_jitter};
use sekisho_keys::MemoryKey;
use sekisho_proto::server::node_client::NodeClient;
use sekisho_proto::spire::svid::v1::{
    BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, svid_client::SvidClient,
};
use sekisho_proto::{selectors_to_wire, server as wire, types};
use sekisho_runtime::metrics::registry::ISSUE_SECONDS;
use sekisho_runtime::{instant, now, random_u32};
use sekisho_types::{Digest, SignatureAlgorithm, Signer, UnixTime};
use tonic::Code;

use crate::behind::required_by;
use crate::core::Core;
use crate::refusal::Refusal;
use crate::resident::{self, NewKey};
use crate::server_failure::ServerFailure;
use crate::svid::{CachedSvid, HeldKey, SvidKey};
use crate::svid_cache::revoked_by;

/// How long the server may take to answer: little when a valid SVID serves meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_WITH_ONE: Duration = Duration::from_secs(2);

/// The X.509-SVID of `entry` for a process measured at `at`.
pub(crate) async fn x509(
    core: &Core,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
) -> Result<Arc<CachedSvid>, Refusal> {
    let key: SvidKey = (entry.id.clone(), measurement_digest(measured));
    if let Some(held) = core.svids.fresh(&key, entry, now()) {
        return Ok(held);
    }
    let asked_at = instant();
    let issue_lock = core.svids.issue_lock(&key);
    let mut last = issue_lock.lock().await;
    if let Some(held) = core.svids.fresh(&key, entry, now()) {
        return Ok(held);
    }
    // Those that waited while another asked share its result.
    let shared = last.as_ref().filter(|(failed_at, _)| *failed_at >= asked_at).map(|(_, refusal)| refusal.clone());
    let issued = match shared {
        Some(refusal) => Err(refusal),
        None => {
            let asked = ask_within_budget(core, &key, entry, measured, at).await;
            let result = if asked.is_ok() { "issued" } else { "refused" };
            core.metrics.observe(&ISSUE_SECONDS, &[result], asked_at.elapsed());
            asked
        }
    };
    let result = match issued {
        Ok(held) => {
            core.svids.keep(key.clone(), held.clone(), now());
            core.cache.request_save();
            not_revoked(core, &key, held)
        }
        Err(refusal) => {
            *last = Some((instant(), refusal.clone()));
            if refusal.is_final() {
                core.svids.drop_one(&key);
            }
            // What is held and valid goes on serving while the server cannot answer (law L14); a refusal is final.
            core.svids.valid(&key, entry, now()).ok_or(refusal)
        }
    };
    drop(last);
    core.svids.release_issue_lock(&key, &issue_lock);
    result
}

/// What is asked of a server that is away reaches no log, and takes from no share. What is issued waits for the policy
/// and the revocations that it requires (law L14).
async fn ask_within_budget(
    core: &Core,
    key: &SvidKey,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
) -> Result<Arc<CachedSvid>, Refusal> {
    let patience = || if core.svids.valid(key, entry, now()).is_some() { PATIENCE_WITH_ONE } else { PATIENCE };
    // What would be withheld is not asked for.
    core.server_state.caught_up(patience()).await?;
    if core.upstream.is_connected() {
        core.limits.user_budgets.x509(measured.uid, now())?;
    }
    let issued = again(|| ask_x509(core, entry, measured, at, patience())).await?;
    core.server_state.caught_up(patience()).await?;
    Ok(issued)
}

/// An SVID that was revoked on its way here is not served.
fn not_revoked(core: &Core, key: &SvidKey, held: Arc<CachedSvid>) -> Result<Arc<CachedSvid>, Refusal> {
    let revoked = core.server_state.revocations().and_then(|all| revoked_by(&all, &held));
    let Some(why) = revoked else { return Ok(held) };
    core.svids.drop_one(key);
    Err(Refusal::RevokedMeanwhile(why))
}

/// Asks once more where the first answer has passed.
async fn again<T, F: Future<Output = Result<T, Refusal>>>(ask: impl Fn() -> F) -> Result<T, Refusal> {
    match ask().await {
        Err(Refusal::Server(failure)) if failure.has_passed() => {
            // The renewal that replaced the SVID is about to put the new connection in place.
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask().await
        }
        answer => answer,
    }
}

async fn ask_x509(
    core: &Core,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
    limit: Duration,
) -> Result<Arc<CachedSvid>, Refusal> {
    let new = match entry.tpm_key {
        true => resident::new_key(core, entry, measured, at).await?,
        false => memory_key(core, entry)?,
    };
    let item = wire::issue_x509_request::Item {
        entry_id: entry.id.as_str().to_owned(),
        csr: new.csr.clone(),
        evidence: Some(evidence(measured, at)),
        key: new.certification,
    };
    let mut node = NodeClient::new(new.server);
    let asked = tokio::time::timeout(limit, node.issue_x509(wire::IssueX509Request { items: vec![item] }));
    let (status, svid, log_index) = match asked.await.map_err(ServerFailure::late)? {
        Ok(answer) => {
            let result = answer.into_inner().results.into_iter().next();
            let result = result.ok_or_else(|| ServerFailure::outage("the server answered nothing"))?;
            (result.status, result.svid, result.log_index)
        }
        // A server that knows only SPIRE's API: it issues by node evidence alone.
        Err(status) if status.code() == Code::Unimplemented && !entry.tpm_key => {
            let params = vec![NewX509svidParams { entry_id: entry.id.as_str().to_owned(), csr: new.csr }];
            let request = BatchNewX509svidRequest { params };
            let mut svid = SvidClient::new(core.upstream.channel());
            let asked = tokio::time::timeout(limit, svid.batch_new_x509svid(request));
            let answer = asked.await.map_err(ServerFailure::late)?.map_err(ServerFailure::from)?;
            let result = answer.into_inner().results.into_iter().next();
            let result = result.ok_or_else(|| ServerFailure::outage("the server answered nothing"))?;
            (result.status, result.svid, 0)
        }
        Err(status) => return Err(ServerFailure::from(status).into()),
    };
    held_svid(core, entry, (new.key, &new.public_key), status, svid, log_index)
}

/// A key in this program's memory.
fn memory_key(core: &Core, entry: &Entry) -> Result<NewKey, Refusal> {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256).map_err(Refusal::failed)?;
    Ok(NewKey {
        key: HeldKey::Memory(key.pkcs8().clone()),
        public_key: key.public_key_der().to_vec(),
        csr: csr_der(&key, Some(&entry.spiffe_id)).map_err(Refusal::failed)?,
        certification: None,
        server: core.upstream.channel(),
    })
}

fn held_svid(
    core: &Core,
    entry: &Entry,
    (key, public_key): (HeldKey, &[u8]),
    status: Option<types::Status>,
    svid: Option<types::X509svid>,
    log_index: u64,
) -> Result<Arc<CachedSvid>, Refusal> {
    if let Some(status) = status.filter(|status| status.code != Code::Ok as i32) {
        return Err(ServerFailure::of_item(status.code, status.message).into());
    }
    let svid = svid.ok_or_else(|| ServerFailure::outage("the server sent no SVID"))?;
    let leaf = svid.cert_chain.first().ok_or_else(|| ServerFailure::outage("the SVID has no certificate"))?;
    let facts = sekisho_identity::leaf_facts(leaf).map_err(Refusal::failed)?;
    if facts.spiffe_id != entry.spiffe_id || facts.public_key != public_key {
        return Err(ServerFailure::outage("the server sent an SVID for another ID or another key").into());
    }
    core.server_state.require(required_by(&facts));
    Ok(Arc::new(CachedSvid {
        spiffe_id: facts.spiffe_id,
        chain: svid.cert_chain,
        key,
        not_after: facts.not_after,
        renew_at: renew_at_with_jitter(facts.not_before, facts.not_after, random_u32()),
        hint: entry.hint.clone(),
        log_index,
        entry_revision: entry.revision_number,
    }))
}

/// A JWT-SVID of `entry` for `audience`.
pub(crate) async fn jwt(
    core: &Core,
    entry: &Entry,
    audience: &[String],
    measured: &Measurement,
    at: UnixTime,
) -> Result<types::Jwtsvid, Refusal> {
    again(|| ask_jwt(core, entry, audience, measured, at)).await
}

async fn ask_jwt(
    core: &Core,
    entry: &Entry,
    audience: &[String],
    measured: &Measurement,
    at: UnixTime,
) -> Result<types::Jwtsvid, Refusal> {
    let entry_id = entry.id.as_str().to_owned();
    let request = wire::IssueJwtRequest {
        entry_id: entry_id.clone(),
        audience: audience.to_vec(),
        evidence: Some(evidence(measured, at)),
    };
    let mut node = NodeClient::new(core.upstream.channel());
    let svid = match tokio::time::timeout(PATIENCE, node.issue_jwt(request)).await.map_err(ServerFailure::late)? {
        Ok(answer) => answer.into_inner().svid,
        Err(status) if status.code() == Code::Unimplemented => {
            let request = NewJwtsvidRequest { entry_id, audience: audience.to_vec() };
            let mut svid = SvidClient::new(core.upstream.channel());
            tokio::time::timeout(PATIENCE, svid.new_jwtsvid(request))
                .await
                .map_err(ServerFailure::late)?
                .map_err(ServerFailure::from)?
                .into_inner()
                .svid
        }
        Err(status) => return Err(ServerFailure::from(status).into()),
    };
    Ok(svid.ok_or_else(|| ServerFailure::outage("the server sent no token"))?)
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
