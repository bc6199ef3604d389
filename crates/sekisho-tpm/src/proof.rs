//! The agent's side of attestation by TPM.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sekisho_evidence::node::{
    HardwareKey, Log, LogPart, MAX_PART_BYTES, NodeError, NodeProof, QUOTED_PCRS, QuotedPcrs, SOFTWARE_TPM, Session,
    TPM, TpmAnswer, TpmChallenge, TpmOpening, TpmRequest, binding, state_binding,
};
use sekisho_evidence::tpm::{Attest, Attested, PcrSelection, PcrValues};
use sekisho_evidence::{Class, HashAlgorithm};

use crate::error::TpmError;
use crate::keys::Key;
use crate::node_tpm::NodeTpm;
use crate::signer::TpmSigner;
use crate::templates::Template;
use crate::tpm::{Attestation, Tpm};

const ENDORSEMENT_KEYS: [Template; 3] = [Template::EkRsa2048, Template::EkP256, Template::EkP384];
/// Where the kernel shows its logs.
const SECURITYFS: &str = "/sys/kernel/security";
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
    #[error("the kernel's log {} cannot be read: {source}; run the agent as root", .path.display())]
    Log { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl From<ProofError> for NodeError {
    fn from(error: ProofError) -> Self {
        Self::Refused(error.into())
    }
}

/// A TPM that proves this node, and holds the key of its SVID.
pub struct TpmProof {
    tpm: NodeTpm,
    /// The key that the next answer certifies.
    key: Mutex<Option<TpmSigner>>,
    class: &'static Class,
    chain: Vec<Vec<u8>>,
    /// The mount point of securityfs.
    logs: Option<PathBuf>,
    kernel: BTreeMap<String, String>,
}

impl TpmProof {
    /// Opens a device (`/dev/tpmrm0`), or the socket of a software TPM. `chain`: authorities (DER) between the TPM's
    /// endorsement certificate and one that the server trusts.
    ///
    /// # Errors
    /// Neither a device nor a socket, or no permission.
    pub fn open(path: &Path, chain: Vec<Vec<u8>>) -> std::io::Result<Self> {
        let tpm = NodeTpm::at(path)?;
        let (class, logs) = if tpm.is_software() { (&SOFTWARE_TPM, None) } else { (&TPM, Some(SECURITYFS.into())) };
        Ok(Self { tpm, key: Mutex::new(None), class, chain, logs, kernel: BTreeMap::new() })
    }

    /// Takes the logs of firmware and kernel from here: the mount point of securityfs. A device has that of the kernel,
    /// a software TPM none.
    #[must_use]
    pub fn with_logs(self, securityfs: PathBuf) -> Self {
        Self { logs: Some(securityfs), ..self }
    }

    /// Reports this of the node's kernel.
    #[must_use]
    pub fn with_kernel<'a>(self, state: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let kernel = state.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { kernel, ..self }
    }

    /// A part of a log. It is read after the quote, so what the quote covers is in it.
    fn log_part(&self, log: Log, from: u64) -> Result<LogPart, ProofError> {
        let Some(folder) = &self.logs else { return Ok(LogPart::Absent) };
        let path = folder.join(match log {
            Log::Event => "tpm0/binary_bios_measurements",
            Log::Ima => "ima/binary_runtime_measurements",
        });
        match read_part(&path, from) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(LogPart::Absent),
            Err(source) => Err(ProofError::Log { path, source }),
            Ok(mut bytes) if bytes.len() > MAX_PART_BYTES => {
                bytes.truncate(MAX_PART_BYTES);
                Ok(LogPart::More(bytes))
            }
            Ok(bytes) => Ok(LogPart::Last(bytes)),
        }
    }

    fn opening(&self) -> Result<TpmOpening, ProofError> {
        let mut tpm = self.tpm.open().map_err(TpmError::from)?;
        let (template, ek_certificate) = endorsement(&mut tpm)?;
        let ek_public = public(&mut tpm, template)?;
        let ak_public = public(&mut tpm, Template::Attestation)?;
        Ok(TpmOpening { ek_certificate, ek_chain: self.chain.clone(), ek_public, ak_public })
    }

    fn activated(&self, challenge: &TpmChallenge, session: &Session<'_>) -> Result<Vec<u8>, ProofError> {
        let mut tpm = self.tpm.open().map_err(TpmError::from)?;
        let (template, _) = endorsement(&mut tpm)?;
        let (ek, ak) = (tpm.primary(template)?, tpm.primary(Template::Attestation)?);
        let bound = binding(&challenge.nonce, &ak.public, &session.key, &session.exporter);
        let secret = tpm.activate_credential(&ek, &ak, &challenge.credential, &challenge.encrypted_seed);
        let quoted = quoted(&mut tpm, &ak, &bound);
        // A software TPM has space for three objects: the endorsement key is needed no more.
        tpm.flush(ek)?;
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let certified = key.map(|key| key.certified_by(&mut tpm, &ak, &bound)).transpose();
        tpm.flush(ak)?;
        Ok(TpmAnswer { quoted: self.reporting(quoted?), certified: certified? }.encode(&secret?, &bound))
    }

    fn quoted_again(&self, nonce: &[u8; 32], session: &Session<'_>) -> Result<Vec<u8>, ProofError> {
        let mut tpm = self.tpm.open().map_err(TpmError::from)?;
        let ak = tpm.primary(Template::Attestation)?;
        let bound = state_binding(nonce, &ak.public, &session.key, &session.exporter);
        let quoted = quoted(&mut tpm, &ak, &bound);
        tpm.flush(ak)?;
        Ok(self.reporting(quoted?).encode())
    }

    fn reporting(&self, quoted: QuotedPcrs) -> QuotedPcrs {
        QuotedPcrs { kernel: self.kernel.clone(), ..quoted }
    }
}

fn read_part(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![];
    // One more, which says whether another part follows.
    file.take(MAX_PART_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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

fn quoted(tpm: &mut Tpm, ak: &Key, bound: &[u8]) -> Result<QuotedPcrs, ProofError> {
    let selection = PcrSelection::new(HashAlgorithm::Sha256, QUOTED_PCRS);
    for _ in 0..ATTEMPTS {
        let quote = tpm.quote(ak, bound, selection)?;
        let pcrs = tpm.read_pcrs(selection)?;
        if covers(&quote, &pcrs, selection) {
            let Attestation { attest, signature } = quote;
            return Ok(QuotedPcrs { quote: attest, signature, pcrs: pcrs.values, kernel: BTreeMap::new() });
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

    fn key(&self) -> Result<Option<HardwareKey>, NodeError> {
        let key = TpmSigner::generate(&self.tpm).map_err(ProofError::from)?;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(Some(HardwareKey { stored: key.stored().to_bytes(), signer: Arc::new(key) }))
    }

    fn payload(&self, _: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        Ok(self.opening()?.encode())
    }

    fn answer(&self, challenge: &[u8], session: &Session<'_>) -> Result<Vec<u8>, NodeError> {
        let request = TpmRequest::decode(challenge).ok_or(ProofError::Challenge)?;
        Ok(match request {
            TpmRequest::Activate(challenge) => self.activated(&challenge, session)?,
            TpmRequest::Quote { nonce } => self.quoted_again(&nonce, session)?,
            TpmRequest::Log { log, from } => self.log_part(log, from)?.encode(),
        })
    }

    fn can_repeat(&self) -> bool {
        true
    }
}
