use axum::extract::Path;
use axum::{Extension, Json};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_api::{ConsistencyForm, LogForm};

use super::problem::Refused;
use crate::caller::Operator;
use crate::executor::Call;
use crate::queries::{LogHead, Prove, ProveConsistency, ShowLog};

#[cfg_attr(test, utoipa::path(get, path = "/v1/log", operation_id = "show_log",
    responses((status = 200, body = LogForm))))]
pub(super) async fn log(Extension(call): Extension<Call<Operator>>) -> Json<LogForm> {
    let LogHead { checkpoint, cosigned, verifier_key } = call.ask(ShowLog).await;
    Json(LogForm {
        checkpoint: checkpoint.to_string(),
        cosigned: cosigned.map(|note| note.to_string()),
        trust_policy: format!("log {verifier_key}\nquorum none\n"),
        verifier_key,
    })
}

/// What shows that the log of one size is the beginning of the log of another.
#[cfg_attr(test, utoipa::path(get, path = "/v1/log/consistency/{old_size}/{new_size}",
    operation_id = "prove_consistency", responses(
    (status = 200, body = ConsistencyForm), (status = 400, body = sekisho_api::Problem))))]
pub(super) async fn consistency(
    Extension(call): Extension<Call<Operator>>,
    Path((old_size, new_size)): Path<(u64, u64)>,
) -> Result<Json<ConsistencyForm>, Refused> {
    let path = call.ask(ProveConsistency { old_size, new_size }).await?;
    Ok(Json(ConsistencyForm { old_size, new_size, path: path.iter().map(|hash| BASE64.encode(hash)).collect() }))
}

/// A proof file for an attestation (`att_…`), an issuance (`iss_…`), a decision (`dec_…`) or any leaf by its index.
#[cfg_attr(test, utoipa::path(get, path = "/v1/proofs/{id}", operation_id = "prove_record", responses(
    (status = 200, body = String, content_type = "text/plain", description = "c2sp.org/tlog-proof@v1"),
     (status = 404, body = sekisho_api::Problem))))]
pub(super) async fn prove(
    Extension(call): Extension<Call<Operator>>,
    Path(id): Path<String>,
) -> Result<String, Refused> {
    Ok(call.ask(Prove(id)).await?.to_string())
}
