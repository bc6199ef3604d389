//! Verifies a recorded attestation again: offline, by anchors and a policy that its reader trusts.

use std::collections::BTreeSet;

use sekisho_types::{Digest, SpiffeIdError, UnixTime};

use super::tpm::{SOFTWARE_TPM, TPM, is_software, key_class};
use super::tpm_logs::{LOGGED_PCRS, TpmError, first_measured};
use super::tpm_messages::{QUOTED_PCRS, binding};
use super::tpm_record::{RecordedEndorsement, TpmRecord};
use super::tpm_requests::state_binding;
use super::tpm_state::BANK;
use crate::boot::{BootPolicy, BootRefusal, EventLog, Quoted};
use crate::ima::{IMA_PCR, ImaLog};
use crate::tpm::{
    EndorsementCertificate, EndorsementError, Expected, PcrSelection, PcrValues, Public, QuotedState, Signed,
    StateClaims, TpmRefusal, appraise_entry, check_attestation_key, verify_state,
};
use crate::{Class, KeyClass};

/// By what a record is judged.
#[derive(Debug, Clone, Copy)]
pub struct RecordTrust<'a> {
    /// Authorities of TPM manufacturers, DER.
    pub anchors: &'a [Vec<u8>],
    /// An endorsement key that needs no authority, by its SHA-256.
    pub endorsement_key: Option<Digest>,
    pub boot_policy: Option<&'a BootPolicy>,
    pub at: UnixTime,
}

/// Why a record proves nothing to its reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    #[error("`{0}` is not an attestor by TPM")]
    Attestor(String),
    #[error(transparent)]
    Tpm(#[from] TpmError),
    #[error("the endorsement key that you trust is another one")]
    OtherEndorsementKey,
    #[error("the node is not the one of this TPM, which is `{0}`")]
    OtherNode(String),
    #[error("no ID can be made for the node: {0}")]
    NodeId(#[from] SpiffeIdError),
    #[error("the boot policy lists the files that may run, and the record has no IMA log")]
    NoImaLog,
}

impl From<TpmRefusal> for RecordRefusal {
    fn from(refusal: TpmRefusal) -> Self {
        Self::Tpm(refusal.into())
    }
}

impl From<BootRefusal> for RecordRefusal {
    fn from(refusal: BootRefusal) -> Self {
        Self::Tpm(refusal.into())
    }
}

/// How much of what the kernel measured a record shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesShown {
    /// All since the boot: so many entries.
    All(usize),
    /// Those that came after what the server had judged before.
    Later(usize),
    /// The log is not in the record.
    None,
}

/// What a record proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedRecord {
    /// It counts as hardware. A program that is a TPM does not.
    pub is_hardware: bool,
    /// `None`: a repeated attestation, which shows an attestation key only.
    pub endorsement: Option<EndorsementCertificate>,
    pub state: StateClaims,
    /// Where the key of the node's SVID was.
    pub key: KeyClass,
    /// The image of the boot policy that was booted.
    pub boot_image: Option<String>,
    pub files: FilesShown,
    /// The image lists what may run, and each file that the record shows is listed.
    pub files_are_listed: bool,
}

impl TpmRecord {
    /// Judges the record as a server judges a node, but for what only the server has seen: that the TPM of the
    /// endorsement key opened a credential for this attestation key, and what the server knew of earlier attestations.
    /// So a record that its reader does not have from the log, by its hash, proves nothing: anyone can make one.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn appraise(&self, trust: &RecordTrust<'_>) -> Result<AppraisedRecord, RecordRefusal> {
        let class = [&TPM, &SOFTWARE_TPM].into_iter().find(|class| class.name == self.attestor);
        let class = class.ok_or_else(|| RecordRefusal::Attestor(self.attestor.clone()))?;
        let endorsement = self.endorsement.as_ref().map(|shown| self.endorsed(class, shown, trust)).transpose()?;
        let ak = Public::parse(&self.ak_public).map_err(TpmError::from)?;
        check_attestation_key(&ak)?;
        let bound = match endorsement {
            Some(_) => binding(&self.nonce, &ak, &self.key, &self.exporter),
            None => state_binding(&self.nonce, &ak, &self.key, &self.exporter),
        };
        let event_log = self.event_log.as_ref().filter(|log| !log.is_empty());
        let event_log = event_log.map(|log| EventLog::parse(log)).transpose().map_err(TpmRefusal::from)?;
        let ima_log = self.ima_log.as_ref().map(|log| ImaLog::parse_binary(log)).transpose();
        let ima_log = ima_log.map_err(TpmRefusal::from)?;
        let pcrs = self.pcrs();
        let quote = Signed { attest: &self.quoted.quote, signature: &self.quoted.signature };
        let state = QuotedState { quote, pcrs: &pcrs, event_log: event_log.as_ref(), ima_log: ima_log.as_ref() };
        let state = verify_state(&ak, &state, &self.expected(&bound))?.into_inner();
        // Of another hierarchy's key the counters are not the TPM's.
        if !state.counters_are_true {
            return Err(TpmRefusal::OtherHierarchy.into());
        }
        // A whole attestation shows what explains its boot. A repeated one need not show it again.
        if endorsement.is_some() && event_log.is_none() {
            let measured = first_measured(&pcrs);
            measured.map_or(Ok(()), |index| Err(TpmRefusal::NoEventLog(index)))?;
        }
        let key = key_class(&ak, self.certified.as_ref(), &bound, &self.key)?;
        let boot = |policy: &BootPolicy| {
            policy.appraise(event_log.as_ref(), Quoted { bank: BANK, values: &pcrs.values }, trust.at)
        };
        let boot_image = trust.boot_policy.map(boot).transpose()?.map(|admitted| admitted.image);
        let image = boot_image.as_ref().and_then(|name| trust.boot_policy?.image(name));
        let listed = image.and_then(|image| image.files.as_ref());
        let files = self.files(ima_log.as_ref(), &state, &pcrs, listed)?;
        let (is_hardware, files_are_listed) = (class.name == TPM.name, listed.is_some());
        Ok(AppraisedRecord { is_hardware, endorsement, state, key, boot_image, files, files_are_listed })
    }

    fn expected<'a>(&'a self, bound: &'a [u8]) -> Expected<'a> {
        Expected {
            nonce: bound,
            selection: Some(PcrSelection::new(BANK, QUOTED_PCRS)),
            logged: &LOGGED_PCRS,
            needs_safe_clock: false,
            ima_state: self.ima_from.as_ref(),
            ima_digests: None,
        }
    }

    fn endorsed(
        &self,
        class: &Class,
        shown: &RecordedEndorsement,
        trust: &RecordTrust<'_>,
    ) -> Result<EndorsementCertificate, RecordRefusal> {
        let refused = |error: EndorsementError| RecordRefusal::from(TpmRefusal::from(error));
        let certificate = match trust.endorsement_key {
            None => EndorsementCertificate::verify(&shown.certificate, &shown.chain, trust.anchors, trust.at),
            Some(_) => EndorsementCertificate::unvouched(&shown.certificate, trust.at),
        };
        let certificate = certificate.map_err(refused)?;
        if trust.endorsement_key.is_some_and(|trusted| trusted != certificate.spki) {
            return Err(RecordRefusal::OtherEndorsementKey);
        }
        if class.name == TPM.name && is_software(&certificate) {
            return Err(TpmError::Software.into());
        }
        certificate.check_key(&Public::parse(&shown.public).map_err(TpmError::from)?).map_err(refused)?;
        let path = format!("/spire/agent/{}/{}", class.name, certificate.spki);
        let id = self.node.trust_domain().workload(&path)?;
        if id == self.node { Ok(certificate) } else { Err(RecordRefusal::OtherNode(id.to_string())) }
    }

    /// Judges the files that were measured up to the quote.
    fn files(
        &self,
        log: Option<&ImaLog>,
        state: &StateClaims,
        pcrs: &PcrValues,
        listed: Option<&BTreeSet<Digest>>,
    ) -> Result<FilesShown, RecordRefusal> {
        let first = self.ima_from.as_ref().map_or(0, |from| from.entries);
        let (Some(log), Some(ima)) = (log, &state.ima) else {
            let is_empty = pcrs.values.get(&IMA_PCR).is_some_and(|value| value.iter().all(|byte| *byte == 0));
            return match (is_empty, listed) {
                (true, _) => Ok(FilesShown::All(0)),
                (false, None) => Ok(FilesShown::None),
                (false, Some(_)) => Err(RecordRefusal::NoImaLog),
            };
        };
        let count = ima.state.entries.saturating_sub(first);
        for (number, entry) in (first..).zip(&log.entries).take(count) {
            appraise_entry(number, entry, pcrs, listed)?;
        }
        Ok(if self.ima_from.is_none() { FilesShown::All(count) } else { FilesShown::Later(count) })
    }
}
