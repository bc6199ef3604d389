use std::path::PathBuf;

use clap::Args;
use sekisho_api::LogForm;
use serde_json::json;

use crate::complete;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::print;
use crate::rest::Rest;
use crate::verbs::checkpoints;

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// `att_…`, `iss_…`, `dec_…`, `ref_…`, a unique prefix of one, or the index of a leaf; optional with
    /// `--consistent-with`
    #[arg(required_unless_present = "consistent_with", add = complete::logged())]
    id: Option<String>,
    /// Where to write the proof; default: `<id>.tlog-proof` or `log.consistency`
    #[arg(long, env = "SEKISHO_PROOF_FILE")]
    file: Option<PathBuf>,
    /// An earlier checkpoint or proof file: also prove that its log is the beginning of this one, in
    /// `<file>.consistency`
    #[arg(long, env = "SEKISHO_CONSISTENT_WITH")]
    consistent_with: Option<PathBuf>,
    /// Also write the trust policy that names the log's key, for `sekisho verify`
    // No variable: one that names a policy to verify by would have it overwritten.
    #[arg(long)]
    trust_policy: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, mut args: ProveArgs) -> Result<Exit, Failure> {
    let rest = Rest::of(global);
    if let Some(given) = args.id.take() {
        args.id = Some(ids::logged(&rest, &given).await?);
    }
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))
    };
    let held = args.consistent_with.as_deref().map(checkpoints::note_in).transpose()?;
    let default = args.id.as_ref().map_or_else(|| "log.consistency".to_owned(), |id| format!("{id}.tlog-proof"));
    let file = args.file.unwrap_or_else(|| PathBuf::from(default));
    match &args.id {
        Some(id) => write(&file, &rest.get_text(&format!("/v1/proofs/{id}")).await?)?,
        None => {
            let log: LogForm = rest.get("/v1/log").await?;
            let held = held.as_deref().unwrap_or_default();
            let proof = checkpoints::fetch(&rest, held, &log.checkpoint).await?;
            let equal = || Failure::failed("the log has not grown since that checkpoint, so there is nothing to prove");
            write(&file, &proof.ok_or_else(equal)?)?;
        }
    }
    if let (Some(_), Some(held)) = (&args.id, &held)
        && let Some(proof) = checkpoints::fetch(&rest, held, &checkpoints::note_in(&file)?).await?
    {
        write(&checkpoints::proof_beside(&file), &proof)?;
    }
    if let Some(path) = &args.trust_policy {
        let log: LogForm = rest.get("/v1/log").await?;
        write(path, &log.trust_policy)?;
    }
    print(global.output, &json!({"id": args.id, "file": file}), || {
        let with = args.consistent_with.as_ref().map(|held| format!(" --consistent-with {}", held.display()));
        let (file, with) = (file.display(), with.unwrap_or_default());
        match &args.trust_policy {
            Some(trust) => {
                format!("{file}\nverify it with: sekisho verify {file} --trust-policy {}{with}", trust.display())
            }
            None => {
                let id = args.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
                format!("{file}\nto verify it, get the trust policy: sekisho prove{id}{with} --trust-policy trust")
            }
        }
    })?;
    Ok(Exit::Ok)
}
