//! The agent's side of attestation by TPM.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sekisho_evidence::node::{
    MAX_EVENT_LOG_BYTES, NodeError, NodeProof, QUOTED_PCRS, SOFTWARE_TPM, Session, TPM, TpmAnswer, TpmChallenge,
    TpmOpening, binding,
};
use sekisho_evidence::tpm::{Attest, Attested, PcrSelection, PcrValues};
use sekisho_evidence::{Class, HashAlgorithm};

use crate::device::{Device, Socket};
use crate::error::TpmError;
use crate::keys::Key;
use crate::templates::Template;
use crate::tpm::{Attestation, Tpm};

const ENDORSEMENT_KEYS: [Template; 3] = [Template::EkRsa2048, Template::EkP256, Template::EkP384];
/// The kernel's copy of the firmware's event log.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// The kernel may measure a file between the quote and the reading of the PCRs.
const ATTEMPTS: usize = 5;

/// Why a node cannot prove itself by its TPM.
#[derive(Debug, thiserror::Error)]
enum ProofError {
    #[error("the TPM has no endorsement certificate in its NV memory; ask its manufacturer, or attest in another way")]
    NoCertificate,
    #[error("the server's challenge is not of the form of `tpm`")]
    Challenge,
    #[error("the PCRs changed at each of {ATTEMPTS} quotes; try again when the machine is less busy")]
    Unsteady,
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl From<ProofError> for NodeError {
    fn from(error: ProofError) -> Self {
        Self::Refused(error.into())
    }
}

/// A TPM that proves this node.
pub struct TpmProof {
    tpm: Mutex<Tpm>,
    class: &'static Class,
    chain: Vec<Vec<u8>>,
    event_log: Option<PathBuf>,
}

impl TpmProof {
    /// Opens a device (`/dev/tpmrm0`), or the socket of a software TPM. `chain`: authorities (DER) between the TPM's
    /// endorsement certificate and one that the server trusts.
    ///
    /// # Errors
    /// Neither a device nor a socket, or no permission.
    pub fn open(path: &Path, chain: Vec<Vec<u8>>) -> std::io::Result<Self> {
        let is_socket = std::fs::metadata(path)?.file_type().is_socket();
        let (tpm, class, event_log) = match is_socket {
            true => (Tpm::new(Socket::connect(path)?), &SOFTWARE_TPM, None),
            false => (Tpm::new(Device::open(path)?), &TPM, Some(EVENT_LOG.into())),
        };
        Ok(Self { tpm: Mutex::new(tpm), class, chain, event_log })
    }

    /// Takes the firmware's event log from this file. A device has the kernel's, a software TPM none.
    #[must_use]
    pub fn with_event_log(self, path: PathBuf) -> Self {
        Self { event_log: Some(path), ..self }
    }

    /// The log, if there is one. Without it the server knows PCR values and not what was measured.
    fn read_event_log(&self) -> Option<Vec<u8>> {
        let log = std::fs::read(self.event_log.as_ref()?).ok()?;
        (!log.is_empty() && log.len() <= MAX_EVENT_LOG_BYTES).then_some(log)
    }

    fn opening(&self) -> Result<TpmOpening, ProofError> {
        let mut tpm = self.tpm.lock().unwrap_or_else(PoisonError::into_inner);
        let (template, ek_certificate) = endorsement(&mut tpm)?;
        let ek_public = public(&mut tpm, template)?;
        let ak_public = public(&mut tpm, Template::Attestation)?;
        Ok(TpmOpening { ek_certificate, ek_chain: self.chain.clone(), ek_public, ak_public })
    }

    fn quoted(&self, challenge: &[u8], session: &Session<'_>) -> Result<Vec<u8>, ProofError> {
        let challenge = TpmChallenge::decode(challenge).ok_or(ProofError::Challenge)?;
        let mut tpm = self.tpm.lock().unwrap_or_else(PoisonError::into_inner);
        let (template, _) = endorsement(&mut tpm)?;
        let (ek, ak) = (tpm.primary(template)?, tpm.primary(Template::Attestation)?);
        let bound = binding(&challenge.nonce, &ak.public, &session.key, &session.exporter);
        let done = activated(&mut tpm, (&ek, &ak), &challenge, &bound);
        // After the quote: what it covers is in the log by then.
        let event_log = self.read_event_log();
        tpm.flush(ek)?;
        tpm.flush(ak)?;
        let (secret, answer) = done?;
        Ok(TpmAnswer { event_log, ..answer }.encode(&secret, &bound))
    }
}

/// The first endorsement key that has a certificate.
fn endorsement(tpm: &mut Tpm) -> Result<(Template, Vec<u8>), ProofError> {
    for template in ENDORSEMENT_KEYS {
        if let Some(certificate) = tpm.ek_certificate(template)? {
            return Ok((template, certificate));
        }
    }
    Err(ProofError::NoCertificate)
}

fn public(tpm: &mut Tpm, template: Template) -> Result<Vec<u8>, ProofError> {
    let key = tpm.primary(template)?;
    let public = key.public_bytes.clone();
    tpm.flush(key)?;
    Ok(public)
}

fn activated(
    tpm: &mut Tpm,
    (ek, ak): (&Key, &Key),
    challenge: &TpmChallenge,
    bound: &[u8],
) -> Result<(Vec<u8>, TpmAnswer), ProofError> {
    let secret = tpm.activate_credential(ek, ak, &challenge.credential, &challenge.encrypted_seed)?;
    let selection = PcrSelection::new(HashAlgorithm::Sha256, QUOTED_PCRS);
    for _ in 0..ATTEMPTS {
        let quote = tpm.quote(ak, bound, selection)?;
        let pcrs = tpm.read_pcrs(selection)?;
        if covers(&quote, &pcrs, selection) {
            let Attestation { attest, signature } = quote;
            return Ok((secret, TpmAnswer { quote: attest, signature, pcrs: pcrs.values, event_log: None }));
        }
    }
    Err(ProofError::Unsteady)
}

fn covers(quote: &Attestation, pcrs: &PcrValues, selection: PcrSelection) -> bool {
    match Attest::parse(&quote.attest).map(|attest| attest.body) {
        Ok(Attested::Quote { digest, .. }) => pcrs.digest(selection, HashAlgorithm::Sha256) == Some(digest),
        _ => false,
    }
}

impl NodeProof for TpmProof {
    fn class(&self) -> &'static Class {
        self.class
    }

    fn payload(&self, _: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Ok(self.opening()?.encode())
    }

    fn answer(&self, challenge: &[u8], session: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Ok(self.quoted(challenge, session)?)
    }

    fn can_repeat(&self) -> bool {
        true
    }
}
