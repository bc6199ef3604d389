use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::rest::Rest;

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// `att_…`, `iss_…`, `dec_…`, `ref_…`, or the index of a leaf
    id: String,
    /// Where to write the proof; `<id>.tlog-proof` if absent
    #[arg(long, env = "SEKISHO_PROOF_FILE")]
    file: Option<PathBuf>,
    /// Also write the trust policy that names the log's key, for `sekisho verify`
    #[arg(long, env = "SEKISHO_TRUST_POLICY_FILE")]
    trust_policy: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, args: ProveArgs) -> Result<Exit, Failure> {
    let rest = Rest::new(&global.server_socket());
    let proof = rest.get_text(&format!("/v1/proofs/{}", args.id)).await?;
    let file = args.file.unwrap_or_else(|| PathBuf::from(format!("{}.tlog-proof", args.id)));
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
    };
    write(&file, &proof)?;
    if let Some(path) = &args.trust_policy {
        let log = rest.get("/v1/log").await?;
        write(path, crate::output::text(&log, "/trust_policy"))?;
    }
    print(global.output, &json!({"id": args.id, "file": file}), || {
        let trust = args.trust_policy.as_deref().unwrap_or(std::path::Path::new("<trust policy>"));
        format!("{0}\nverify it with: sekisho verify {0} --policy {1}", file.display(), trust.display())
    })?;
    Ok(Exit::Ok)
}
