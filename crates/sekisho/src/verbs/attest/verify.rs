use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_events::{Event, Receipt};
use sekisho_evidence::boot::BootPolicy;
use sekisho_evidence::node::{AppraisedRecord, RecordRefusal, RecordTrust, TpmRecord};
use sekisho_evidence::{EarContext, ear};
use sekisho_ledger::{TrustPolicy, sha256_of};
use sekisho_types::{Digest, UnixTime};

use super::report::{described, text};
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::ids;
use crate::output::{line, print};
use crate::verbs::checkpoints;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// File of `sekisho agent evidence`
    file: PathBuf,
    /// PEM file with authorities of TPM manufacturers
    #[arg(long, env = "SEKISHO_TPM_CA", value_name = "FILE", required_unless_present = "ek")]
    tpm_ca: Option<PathBuf>,
    /// SHA-256 of an endorsement key that you trust without an authority, as `sekisho tpm approve` does
    #[arg(long, env = "SEKISHO_EK", value_name = "SHA256", value_parser = ids::digest)]
    ek: Option<Digest>,
    /// Boot policy (JSON) that has to admit the boot
    #[arg(long, env = "SEKISHO_BOOT_POLICY", value_name = "FILE")]
    boot_policy: Option<PathBuf>,
    /// Judge certificates and the times of images at this time; default: when the node attested, as the file states
    #[arg(long, env = "SEKISHO_ATTEST_AT", value_name = "TIME", value_parser = sekisho_runtime::parse_time)]
    at: Option<UnixTime>,
    /// The hash by which the log names the file (`evidence_sha256` of the leaf). Anyone can make a file that only looks
    /// like an attestation, so without the log's word none is verified
    #[arg(long, env = "SEKISHO_EVIDENCE_SHA256", value_parser = ids::digest, required_unless_present = "proof")]
    sha256: Option<Digest>,
    /// Proof file of the attestation's leaf, which has that hash (`sekisho prove <att_…>`)
    #[arg(long, env = "SEKISHO_PROOF", value_name = "FILE", requires = "trust_policy")]
    proof: Option<PathBuf>,
    /// Trust policy that names the key of the log in `--proof` (c2sp.org/tlog-policy)
    #[arg(long, env = "SEKISHO_TRUST_POLICY", value_name = "FILE")]
    trust_policy: Option<PathBuf>,
    /// Print the verdict as an EAT attestation result (EAR), an unsigned claims set
    #[arg(long, env = "SEKISHO_EAR")]
    ear: bool,
}

/// Needs nothing but the files.
pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let file = read(&args.file)?;
    let sha256 = Digest::new(sha256_of(&file));
    for logged in args.sha256.into_iter().chain(proved(args)?) {
        if logged != sha256 {
            return Err(denied(args, &format!("its hash is {sha256}, and not {logged}; it is not what the log names")));
        }
    }
    let record = TpmRecord::decode(&file).map_err(|error| named(&args.file, &error))?;
    let anchors = args.tpm_ca.as_deref().map(anchors).transpose()?.unwrap_or_default();
    let policy = args.boot_policy.as_deref().map(policy).transpose()?;
    let at = args.at.unwrap_or(record.at);
    let trust = RecordTrust { anchors: &anchors, endorsement_key: args.ek, boot_policy: policy.as_ref(), at };
    let verdict = record.appraise(&trust);
    if args.ear {
        let boot_policy = policy.as_ref().map(|policy| policy.digest);
        return result(&record, &verdict, (sha256, boot_policy)).map(|()| exit(&verdict));
    }
    let appraised = verdict.map_err(|refusal| denied(args, &refusal))?;
    print(global.output, &described(&record, &appraised, (sha256, at)), || text(&record, &appraised, (sha256, at)))?;
    Ok(Exit::Ok)
}

/// The hash in the leaf of the proof file.
fn proved(args: &VerifyArgs) -> Result<Option<Digest>, Failure> {
    let (Some(proof), Some(trust)) = (&args.proof, &args.trust_policy) else { return Ok(None) };
    let policy = TrustPolicy::parse(&checkpoints::read(trust)?).map_err(|error| named(trust, &error))?;
    let not_verified =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Denied, format!("{}: not verified: {why}", proof.display()));
    let receipt = Receipt::parse(&checkpoints::read(proof)?).and_then(|receipt| receipt.verify(&policy));
    let logged = match receipt.map_err(|error| not_verified(&error))?.leaf.event {
        Event::Attested(attested) => attested.evidence_sha256,
        Event::AttestationDenied(denied) => denied.evidence_sha256,
        _ => None,
    };
    let other = "its leaf names no evidence; it is that of an attestation by a TPM, or of a denied one";
    logged.map(Some).ok_or_else(|| not_verified(&other))
}

type Verdict = Result<AppraisedRecord, RecordRefusal>;

const fn exit(verdict: &Verdict) -> Exit {
    if verdict.is_ok() { Exit::Ok } else { Exit::Denied }
}

fn result(record: &TpmRecord, verdict: &Verdict, of: (Digest, Option<Digest>)) -> Result<(), Failure> {
    let (evidence, boot_policy) = of;
    let by = EarContext {
        developer: env!("CARGO_PKG_REPOSITORY"),
        build: concat!("sekisho ", env!("CARGO_PKG_VERSION")),
        at: sekisho_runtime::now(),
        evidence,
        boot_policy,
    };
    line(&format!("{:#}", ear(record, verdict.as_ref(), &by)))
}

fn denied(args: &VerifyArgs, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Denied, format!("{}: not verified: {why}", args.file.display()))
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| named(path, &error))
}

fn anchors(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    match sekisho_net::certificates_from_pem(&read(path)?) {
        certificates if certificates.is_empty() => Err(named(path, &"no certificate in it")),
        certificates => Ok(certificates),
    }
}

fn policy(path: &Path) -> Result<BootPolicy, Failure> {
    BootPolicy::parse(&read(path)?).map_err(|error| named(path, &error))
}
