//! A signer whose key cannot leave the TPM.

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::node::CertifiedAnswer;
use sekisho_evidence::tpm::{Public, TpmSignature};
use sekisho_types::{SignError, SignatureAlgorithm, Signer};

use crate::error::TpmError;
use crate::keys::{Key, StoredKey};
use crate::node_tpm::NodeTpm;
use crate::templates::Template;
use crate::tpm::{Attestation, Tpm};

/// A key on P-256 below the storage root of a TPM, which is loaded for each signature.
#[derive(Debug, Clone)]
pub struct TpmSigner {
    tpm: NodeTpm,
    stored: StoredKey,
    public_key_der: Vec<u8>,
}

impl TpmSigner {
    /// A new key.
    ///
    /// # Errors
    /// The TPM is not reached, or refuses.
    pub fn generate(tpm: &NodeTpm) -> Result<Self, TpmError> {
        let stored = tpm.below_root(|tpm, root| tpm.create(root, Template::Svid))?;
        Self::of(tpm, stored).ok_or(TpmError::NoSigningKey)
    }

    /// A key that was generated before. `None` for one that is not on P-256. Whether it is of this TPM turns out when
    /// it signs.
    pub fn of(tpm: &NodeTpm, stored: StoredKey) -> Option<Self> {
        let public_key_der = Public::parse(&stored.public).ok()?.spki_der()?;
        Some(Self { tpm: tpm.clone(), stored, public_key_der })
    }

    pub const fn stored(&self) -> &StoredKey {
        &self.stored
    }

    /// The word of this TPM's attestation key that the key is in it, over what `bound` makes of that key.
    ///
    /// # Errors
    /// The TPM is not reached, or refuses.
    pub fn certified(&self, bound: impl FnOnce(&Public) -> Vec<u8>) -> Result<CertifiedAnswer, TpmError> {
        let mut tpm = self.tpm.open()?;
        let ak = tpm.primary(Template::Attestation)?;
        let certified = self.certified_by(&mut tpm, &ak, &bound(&ak.public));
        tpm.flush(ak)?;
        certified
    }

    /// The same, by an attestation key that is loaded.
    pub(crate) fn certified_by(&self, tpm: &mut Tpm, ak: &Key, bound: &[u8]) -> Result<CertifiedAnswer, TpmError> {
        let root = tpm.primary(Template::StorageRoot)?;
        let loaded = tpm.load(&root, &self.stored);
        tpm.flush(root)?;
        let loaded = loaded?;
        let certified = tpm.certify(&loaded, ak, bound);
        tpm.flush(loaded)?;
        let Attestation { attest, signature } = certified?;
        Ok(CertifiedAnswer { public: self.stored.public.clone(), attest, signature })
    }
}

impl Signer for TpmSigner {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaP256Sha256
    }

    fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = HashAlgorithm::Sha256.digest([message]);
        let signature = self.tpm.below_root(|tpm, root| {
            let key = tpm.load(root, &self.stored)?;
            let signature = tpm.sign(&key, &digest);
            tpm.flush(key)?;
            signature
        });
        let signature = signature.map_err(|error| SignError(error.to_string()))?;
        let signature = TpmSignature::parse(&signature).map_err(|error| SignError(error.to_string()))?;
        signature.ecdsa_der().ok_or_else(|| SignError("the TPM signed with another scheme than ECDSA".to_owned()))
    }
}
