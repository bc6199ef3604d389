use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::boot::{AdmittedImage, BootPolicy, EventLog, Quoted};
use sekisho_types::UnixTime;
use serde_json::json;

use super::file::read;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, or_dash, print, table};

const BANK: HashAlgorithm = HashAlgorithm::Sha256;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The boot policy (JSON), as a server takes it with `--boot-policy`
    policy: PathBuf,
    /// Event log of a machine. Its PCR values are taken from the log itself: only a server compares them with a quote
    #[arg(long, env = "SEKISHO_BOOT_LOG")]
    log: Option<PathBuf>,
    /// Judge at this time; default: now
    #[arg(long, env = "SEKISHO_BOOT_AT", value_name = "TIME", value_parser = sekisho_runtime::parse_time)]
    at: Option<UnixTime>,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Failure> {
    let named = |path: &Path, error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    let policy = BootPolicy::parse(&read(&args.policy)?).map_err(|error| named(&args.policy, &error))?;
    let Some(path) = &args.log else { return list(global, &policy) };
    let log = EventLog::parse(&read(path)?).map_err(|error| named(path, &error))?;
    let mut values = log.replay(BANK).map_err(|error| named(path, &error))?;
    for pcr in 0..16 {
        values.entry(pcr).or_insert_with(|| vec![0; BANK.digest_len()]);
    }
    let now = args.at.unwrap_or_else(sekisho_runtime::now);
    let admitted = policy.appraise(Some(&log), Quoted { bank: BANK, values: &values }, now);
    let admitted = admitted.map_err(|refusal| Failure::new(Exit::Denied, format!("not admitted: {refusal}")))?;
    print(global.output, &json!({"admitted": true, "image": admitted.image}), || {
        format!("admitted: image `{}`", admitted.image)
    })?;
    Ok(Exit::Ok)
}

fn list(global: &Global, policy: &BootPolicy) -> Result<Exit, Failure> {
    let images = policy.images.iter().map(|image| {
        json!({
            "name": image.name,
            "not_before": image.not_before.map(|at| at.to_string()),
            "not_after": image.not_after.map(|at| at.to_string()),
            "secure_boot": image.needs_secure_boot,
            "events": image.events.len(),
            "files": image.files.as_ref().map(|files| files.len()),
        })
    });
    let columns: [Column<'_, AdmittedImage>; 6] = [
        ("IMAGE", &|image| image.name.clone()),
        ("FROM", &|image| or_dash(image.not_before)),
        ("UNTIL", &|image| or_dash(image.not_after)),
        ("SECURE BOOT", &|image| if image.needs_secure_boot { "required" } else { "-" }.to_owned()),
        ("EVENTS", &|image| image.events.len().to_string()),
        ("FILES", &|image| image.files.as_ref().map_or_else(|| "any".to_owned(), |files| files.len().to_string())),
    ];
    let digest = policy.digest.to_string();
    print(global.output, &json!({ "sha256": digest, "images": images.collect::<Vec<_>>() }), || {
        table(&policy.images, &columns)
    })?;
    Ok(Exit::Ok)
}
