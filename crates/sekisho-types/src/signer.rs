//! Private keys as something that signs, wherever the key lives.

/// The algorithms that we sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256; signatures are ASN.1 DER (RFC 3279 §2.2.3).
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSASSA-PSS with SHA-256 and the longest salt (RFC 8017 §8.1). For node keys that others made; we make none.
    RsaPssSha256,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign: {0}")]
pub struct SignError(pub String);

/// A key that signs. Keys in files and keys in memory implement it; a TPM or an HSM can.
pub trait Signer: Send + Sync {
    fn algorithm(&self) -> SignatureAlgorithm;

    /// The public key as DER `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    fn public_key_der(&self) -> &[u8];

    /// Whether a signature may take long, so that no thread that serves others waits for it.
    fn is_slow(&self) -> bool {
        false
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}
