//! A signer whose key cannot leave the TPM.

use std::sync::{Arc, Mutex};

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::tpm::{KeyMaterial, TpmSignature};
use sekisho_types::{SignError, SignatureAlgorithm, Signer};

use crate::keys::Key;
use crate::tpm::Tpm;

/// `SubjectPublicKeyInfo` of a key on P-256, up to the point (RFC 5480 §2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key on P-256 in a TPM. Each signature is one command; signatures of one TPM run one after the other.
pub struct TpmSigner {
    tpm: Arc<Mutex<Tpm>>,
    key: Key,
    public_key_der: Vec<u8>,
}

impl TpmSigner {
    /// `None` for a key that is not on P-256.
    pub fn new(tpm: Arc<Mutex<Tpm>>, key: Key) -> Option<Self> {
        let KeyMaterial::Ecc { point, .. } = &key.public.key else { return None };
        let public_key_der = [&P256_SPKI[..], point].concat();
        (point.len() == 65).then_some(Self { tpm, key, public_key_der })
    }
}

impl Signer for TpmSigner {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaP256Sha256
    }

    fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = HashAlgorithm::Sha256.digest([message]);
        let mut tpm = self.tpm.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let signature = tpm.sign(&self.key, &digest).map_err(|error| SignError(error.to_string()))?;
        let signature = TpmSignature::parse(&signature).map_err(|error| SignError(error.to_string()))?;
        signature.ecdsa_der().ok_or_else(|| SignError("the TPM signed with another scheme than ECDSA".to_owned()))
    }
}
