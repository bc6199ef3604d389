use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPssSaltLength,
};
use sekisho_types::{Secret, SignError, SignatureAlgorithm, Signer};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the operating system gave no key: {0}")]
    Generate(String),
    #[error("this is not a PKCS #8 key of the kind expected here")]
    Malformed,
    #[error("key file {path}: {source}; check that the folder exists and belongs to this user")]
    File { path: String, source: std::io::Error },
    #[error(
        "key file {path} is missing, and a new key would not fit what the old one has signed; put it back, or the \
            whole folder with `sekisho restore`"
    )]
    Missing { path: String },
    #[error("key file {path} can be read by others (mode {mode:o}); replace the key, and give the file mode 0600")]
    Exposed { path: String, mode: u32 },
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// As Go signs when it is not given a length, and so SPIRE.
const LONGEST_SALT: &dyn RsaEncoding = &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };

/// A private key in this process's memory.
pub struct MemoryKey {
    pair: Pair,
    public_key: Vec<u8>,
    pkcs8: Secret<Vec<u8>>,
}

/// Keys and the numbers that signatures need come from the operating system also in a simulation: aws-lc takes no other
/// source.
#[expect(clippy::disallowed_methods, reason = "aws-lc-rs has no key generation from a given source")]
fn os_random() -> SystemRandom {
    SystemRandom::new()
}

impl MemoryKey {
    pub fn generate(algorithm: SignatureAlgorithm) -> Result<Self, KeyError> {
        let random = os_random();
        let failed = |_| KeyError::Generate("no randomness".into());
        let pkcs8 = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(failed)?
            }
            SignatureAlgorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?,
            SignatureAlgorithm::RsaPssSha256 => return Err(KeyError::Generate("RSA keys are only read".into())),
        };
        Self::from_pkcs8(algorithm, Secret::new(pkcs8.as_ref().to_vec()))
    }

    pub fn from_pkcs8(algorithm: SignatureAlgorithm, pkcs8: Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let malformed = |_| KeyError::Malformed;
        let (pair, public_key) = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.expose()).map_err(malformed)?;
                let der = pair.public_key().as_der().map_err(|_| KeyError::Malformed)?.as_ref().to_vec();
                (Pair::P256(pair), der)
            }
            SignatureAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8.expose()).map_err(malformed)?;
                let der = pair.public_key().as_der().map_err(|_| KeyError::Malformed)?.as_ref().to_vec();
                (Pair::Ed25519(pair), der)
            }
            SignatureAlgorithm::RsaPssSha256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).map_err(malformed)?;
                let der = pair.public_key().as_der().map_err(|_| KeyError::Malformed)?.as_ref().to_vec();
                (Pair::Rsa(Box::new(pair)), der)
            }
        };
        Ok(Self { pair, public_key, pkcs8 })
    }

    /// The key as unencrypted PKCS #8, as the Workload API hands it out.
    pub const fn pkcs8(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }
}

impl Signer for MemoryKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        match self.pair {
            Pair::P256(_) => SignatureAlgorithm::EcdsaP256Sha256,
            Pair::Ed25519(_) => SignatureAlgorithm::Ed25519,
            Pair::Rsa(_) => SignatureAlgorithm::RsaPssSha256,
        }
    }

    fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::P256(pair) => {
                let signature = pair.sign(&os_random(), message).map_err(|e| SignError(e.to_string()))?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(LONGEST_SALT, &os_random(), message, &mut signature);
                signed.map_err(|e| SignError(e.to_string()))?;
                Ok(signature)
            }
        }
    }
}
