//! A private key that rustls does not see: it only signs.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer as RustlsSigner, SigningKey};
use rustls::{SignatureAlgorithm as Family, SignatureScheme};
use sekisho_types::{SignatureAlgorithm, Signer};

#[derive(Clone)]
pub(crate) struct RemoteKey {
    signer: Arc<dyn Signer>,
    scheme: SignatureScheme,
}

impl RemoteKey {
    /// `None` for a key of another kind than those of SVIDs.
    pub(crate) fn new(signer: Arc<dyn Signer>) -> Option<Self> {
        let scheme = match signer.algorithm() {
            SignatureAlgorithm::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureAlgorithm::Ed25519 => SignatureScheme::ED25519,
            SignatureAlgorithm::RsaPssSha256 => return None,
        };
        Some(Self { signer, scheme })
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn RustlsSigner>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn RustlsSigner>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.signer.public_key_der().into())
    }

    fn algorithm(&self) -> Family {
        match self.signer.algorithm() {
            SignatureAlgorithm::EcdsaP256Sha256 => Family::ECDSA,
            SignatureAlgorithm::Ed25519 => Family::ED25519,
            SignatureAlgorithm::RsaPssSha256 => Family::RSA,
        }
    }
}

impl RustlsSigner for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer.sign(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl std::fmt::Debug for RemoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteKey")
    }
}
