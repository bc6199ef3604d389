//! The verifier of a TPM's evidence: from bytes to claims, offline, at a given time.

use std::collections::BTreeSet;

use sekisho_types::{Digest, UnixTime, Verified};

use super::attest::{Attest, Attested, ClockInfo};
use super::endorsement::EndorsementCertificate;
use super::pcr::{PcrSelection, PcrValues};
use super::public::{Attributes, Public};
use super::refusal::TpmRefusal;
use super::signature::TpmSignature;
use crate::boot::{BootFacts, EventLog};
use crate::ima::{IMA_PCR, ImaEntry, ImaLog, Replayed};

/// `TPM_RH_ENDORSEMENT`
const ENDORSEMENT: u32 = 0x4000_000b;
/// What an attestation key must be. Without `restricted` it signs a forged quote for anyone who may use it.
const ATTESTATION_KEY: Attributes = Attributes::FIXED_TPM
    .and(Attributes::FIXED_PARENT)
    .and(Attributes::SENSITIVE_DATA_ORIGIN)
    .and(Attributes::RESTRICTED)
    .and(Attributes::SIGN);
/// What a key must be of which an SVID says that it cannot leave the TPM.
const RESIDENT_KEY: Attributes =
    Attributes::FIXED_TPM.and(Attributes::FIXED_PARENT).and(Attributes::SENSITIVE_DATA_ORIGIN).and(Attributes::SIGN);

/// The name of the kernel's first entry.
const BOOT_AGGREGATE: &str = "boot_aggregate";

/// An attestation structure (`TPMS_ATTEST`) and its signature (`TPMT_SIGNATURE`), as the TPM marshals them.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub attest: &'a [u8],
    pub signature: &'a [u8],
}

/// What a node sends. Nothing in it is believed before it is verified.
#[derive(Debug, Clone, Copy)]
pub struct TpmEvidence<'a> {
    /// DER.
    pub ek_certificate: &'a [u8],
    /// Authorities between it and an anchor, DER.
    pub ek_chain: &'a [Vec<u8>],
    /// `TPMT_PUBLIC`
    pub ek_public: &'a [u8],
    /// `TPMT_PUBLIC`
    pub ak_public: &'a [u8],
    pub state: QuotedState<'a>,
    /// A key of the same TPM (`TPMT_PUBLIC`) and its certification by the attestation key.
    pub certified: Option<(&'a [u8], Signed<'a>)>,
}

/// A quote, the PCR values behind it, and the logs that explain them.
#[derive(Debug, Clone, Copy)]
pub struct QuotedState<'a> {
    pub quote: Signed<'a>,
    pub pcrs: &'a PcrValues,
    pub event_log: Option<&'a EventLog>,
    /// The whole IMA log, or the entries after [`Expected::ima_state`].
    pub ima_log: Option<&'a ImaLog>,
}

/// What the verifier asked for, and what its policy allows.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The exact `extraData` of quote and certification.
    pub nonce: &'a [u8],
    /// The PCRs that the quote must cover, no more and no fewer. `None`: whatever it covers.
    pub selection: Option<PcrSelection>,
    /// The PCRs that an event log must explain, as far as the quote covers them. The kernel's own is never among them.
    pub logged: &'a [u8],
    /// Refuse a TPM whose clock may have gone back. After a loss of power that is so for up to an hour, until the clock
    /// passes its last saved value.
    pub needs_safe_clock: bool,
    /// Where the last attestation left PCR 10. It comes from the verifier's own state, never from the node. `None`:
    /// the log begins at the boot.
    pub ima_state: Option<&'a Replayed>,
    /// The only file digests that an IMA entry may carry, apart from the kernel's first one. `None`: any.
    pub ima_digests: Option<&'a BTreeSet<Digest>>,
}

/// What a TPM's evidence proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmClaims {
    pub endorsement: EndorsementCertificate,
    /// Later quotes are verified with it.
    pub attestation_key: Public,
    pub key: Option<CertifiedKey>,
    pub state: StateClaims,
}

/// What one quote proves about a machine's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateClaims {
    pub qualified_signer: Vec<u8>,
    /// The attestation key is a primary key of the endorsement hierarchy, so the counters are the TPM's own.
    pub counters_are_true: bool,
    pub clock: ClockInfo,
    pub firmware_version: u64,
    pub selection: PcrSelection,
    pub pcr_digest: Vec<u8>,
    pub boot: Option<BootFacts>,
    pub ima: Option<ImaClaims>,
}

/// A key that cannot leave the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    pub name: Vec<u8>,
    pub public: Public,
}

/// What the kernel measured up to the quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaClaims {
    /// PCR 10 and the number of entries it rests on: where the next attestation goes on.
    pub state: Replayed,
    /// The paths of the entries that are new since the last attestation.
    pub paths: Vec<String>,
}

/// Verifies all that was sent: endorsement, attestation key, quote, certification and logs.
///
/// Credential activation, which proves that the attestation key is in the TPM of this endorsement key, is a live
/// exchange and not part of this.
///
/// # Errors
/// The first thing that does not hold. What is missing is never assumed.
pub fn verify(
    evidence: &TpmEvidence<'_>,
    expected: &Expected<'_>,
    anchors: &[Vec<u8>],
    now: UnixTime,
) -> Result<Verified<TpmClaims>, TpmRefusal> {
    let endorsement = EndorsementCertificate::verify(evidence.ek_certificate, evidence.ek_chain, anchors, now)?;
    endorsement.check_key(&Public::parse(evidence.ek_public)?)?;
    let attestation_key = Public::parse(evidence.ak_public)?;
    let state = verify_state(&attestation_key, &evidence.state, expected)?.into_inner();
    let certified = |(public, signed)| verify_certified(&attestation_key, public, signed, expected.nonce);
    let key = evidence.certified.map(certified).transpose()?;
    Ok(Verified::assertion(TpmClaims { endorsement, attestation_key, key, state }))
}

/// Verifies a quote by an attestation key that is known already, and the logs with it: the whole of a repeated
/// attestation.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify_state(
    ak: &Public,
    state: &QuotedState<'_>,
    expected: &Expected<'_>,
) -> Result<Verified<StateClaims>, TpmRefusal> {
    let signature = TpmSignature::parse(state.quote.signature)?;
    signature.verify(ak, state.quote.attest).map_err(TpmRefusal::QuoteSignature)?;
    check_attestation_key(ak)?;
    let quote = Attest::parse(state.quote.attest)?;
    let Attested::Quote { selection, digest } = quote.body else { return Err(TpmRefusal::NotAQuote) };
    if quote.extra_data != expected.nonce {
        return Err(TpmRefusal::QuoteNonce);
    }
    if expected.selection.is_some_and(|asked| asked != selection) {
        return Err(TpmRefusal::Selection);
    }
    if expected.needs_safe_clock && !quote.clock.safe {
        return Err(TpmRefusal::ClockNotSafe);
    }
    let computed = signature.hash().and_then(|hash| state.pcrs.digest(selection, hash));
    if computed.as_ref() != Some(&digest) {
        return Err(TpmRefusal::PcrDigest);
    }
    let boot = state.event_log.map(|log| explain_boot(log, selection, state.pcrs, expected.logged)).transpose()?;
    let ima = state.ima_log.map(|log| ima(log, selection, state.pcrs, expected)).transpose()?;
    Ok(Verified::assertion(StateClaims {
        counters_are_true: quote.qualified_signer == ak.qualified_name(ENDORSEMENT),
        qualified_signer: quote.qualified_signer,
        clock: quote.clock,
        firmware_version: quote.firmware_version,
        selection,
        pcr_digest: digest,
        boot,
        ima,
    }))
}

/// Refuses a key that could sign something that no TPM made.
///
/// # Errors
/// A missing attribute, a key that may decrypt, or reserved bits.
pub fn check_attestation_key(key: &Public) -> Result<(), TpmRefusal> {
    if let Some(missing) = key.attributes.missing(ATTESTATION_KEY) {
        return Err(TpmRefusal::AttestationKeyLacks(missing));
    }
    if key.attributes.has(Attributes::DECRYPT) || key.attributes.has_reserved() {
        return Err(TpmRefusal::AttestationKeyMay);
    }
    Ok(())
}

/// Verifies that a key (`TPMT_PUBLIC`) is in the TPM of this attestation key, was made there, and cannot leave it.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify_certified(
    ak: &Public,
    public: &[u8],
    signed: Signed<'_>,
    nonce: &[u8],
) -> Result<CertifiedKey, TpmRefusal> {
    let signature = TpmSignature::parse(signed.signature)?;
    signature.verify(ak, signed.attest).map_err(TpmRefusal::CertifySignature)?;
    let attest = Attest::parse(signed.attest)?;
    let Attested::Certify { name } = attest.body else { return Err(TpmRefusal::NotACertification) };
    if attest.extra_data != nonce {
        return Err(TpmRefusal::CertifyNonce);
    }
    let public = Public::parse(public)?;
    if public.name() != name {
        return Err(TpmRefusal::OtherCertifiedKey);
    }
    if let Some(missing) = public.attributes.missing(RESIDENT_KEY) {
        return Err(TpmRefusal::CertifiedKeyLacks(missing));
    }
    if public.attributes.has(Attributes::DECRYPT) || public.attributes.has_reserved() {
        return Err(TpmRefusal::CertifiedKeyMay);
    }
    Ok(CertifiedKey { name, public })
}

/// The facts of an event log, which must give each of the PCRs in `logged` its quoted value.
///
/// # Errors
/// A PCR that the log does not explain.
pub fn explain_boot(
    log: &EventLog,
    selection: PcrSelection,
    pcrs: &PcrValues,
    logged: &[u8],
) -> Result<BootFacts, TpmRefusal> {
    let replayed = log.replay(selection.bank)?;
    let zeros = vec![0; selection.bank.digest_len()];
    for index in selection.indices().filter(|index| logged.contains(index) && *index != IMA_PCR) {
        if pcrs.values.get(&index) != Some(replayed.get(&index).unwrap_or(&zeros)) {
            return Err(TpmRefusal::EventLog(index));
        }
    }
    Ok(BootFacts::of(log, selection.bank))
}

fn ima(
    log: &ImaLog,
    selection: PcrSelection,
    pcrs: &PcrValues,
    expected: &Expected<'_>,
) -> Result<ImaClaims, TpmRefusal> {
    let quoted = pcrs.values.get(&IMA_PCR).filter(|_| selection.has(IMA_PCR)).ok_or(TpmRefusal::ImaNotQuoted)?;
    let mut state = expected.ima_state.cloned().unwrap_or_else(|| Replayed::start(selection.bank));
    let measured = state.up_to(log, quoted).ok_or(TpmRefusal::ImaLog)?;
    let first = state.entries - measured.len();
    let mut numbered = (first..).zip(measured);
    numbered.try_for_each(|(number, entry)| appraise_entry(number, entry, pcrs, expected.ima_digests))?;
    Ok(ImaClaims { state, paths: measured.iter().map(|entry| entry.path.clone()).collect() })
}

/// Refuses a measurement that proves nothing, or of a file that is not among the `allowed` ones. `number` counts the
/// log's entries from 0.
///
/// # Errors
/// A violation, or another digest.
pub fn appraise_entry(
    number: usize,
    entry: &ImaEntry,
    pcrs: &PcrValues,
    allowed: Option<&BTreeSet<Digest>>,
) -> Result<(), TpmRefusal> {
    if entry.is_violation {
        return Err(TpmRefusal::ImaViolation(entry.path.clone()));
    }
    let Some(allowed) = allowed else { return Ok(()) };
    let digest = Digest::from_slice(&entry.digest.bytes).ok().filter(|_| entry.digest.algorithm == "sha256");
    if digest.is_some_and(|digest| allowed.contains(&digest)) || (number == 0 && is_boot_aggregate(entry, pcrs)) {
        return Ok(());
    }
    let digest = format!("{}:{}", entry.digest.algorithm, hex::encode(&entry.digest.bytes));
    Err(TpmRefusal::ImaDigest { path: entry.path.clone(), digest })
}

/// The kernel's own first entry: the digest of PCRs 0 to 9 (0 to 7 before Linux 5.8). A file may have the same name,
/// and not the same digest.
fn is_boot_aggregate(entry: &ImaEntry, pcrs: &PcrValues) -> bool {
    let aggregate = |last: u8| {
        let values = (0..=last).map(|index| pcrs.values.get(&index).map(Vec::as_slice));
        Some(pcrs.bank.digest(values.collect::<Option<Vec<_>>>()?))
    };
    let is_same = |last| aggregate(last).is_some_and(|digest| digest == entry.digest.bytes);
    entry.path == BOOT_AGGREGATE && entry.digest.algorithm == pcrs.bank.name() && (is_same(9) || is_same(7))
}
