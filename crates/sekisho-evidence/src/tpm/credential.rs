//! Credential activation, the server's half: a secret that only the TPM with this endorsement key can read, and only
//! if it also holds the key with this Name (TPM 2.0 Library, part 1, §24).

use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};

use super::kdf::{hmac_algorithm, kdf_a, kdf_e};
use super::public::{Curve, KeyMaterial, Public, without_leading_zeros};
use crate::hash::HashAlgorithm;

const LABEL: &str = "IDENTITY";

/// Why no credential can be made for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the endorsement key's hash is not SHA-256 or SHA-384, or it has no symmetric algorithm")]
    Unsupported,
    #[error("the endorsement key is not a valid public key")]
    Key,
    #[error("the secret is longer than a digest of the endorsement key's hash")]
    Secret,
}

/// Fresh random numbers for one credential.
#[derive(Clone, Copy)]
pub struct CredentialSeed<'a> {
    /// At least as long as a digest of the endorsement key's nameAlg: 48 bytes serve every key.
    pub bytes: &'a [u8; 48],
}

/// What `TPM2_ActivateCredential` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `TPMS_ID_OBJECT`, the contents of `TPM2B_ID_OBJECT`.
    pub credential: Vec<u8>,
    /// The contents of `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_seed: Vec<u8>,
}

/// Encrypts `secret` to the endorsement key, bound to the Name of another key. The Name must have been computed from
/// that key's public area, never taken from the node.
///
/// # Errors
/// A key or a secret that this cannot be done with.
pub fn make_credential(
    endorsement: &Public,
    name: &[u8],
    secret: &[u8],
    seed: CredentialSeed<'_>,
) -> Result<Challenge, CredentialError> {
    let hash = endorsement.name_algorithm;
    if secret.is_empty() || secret.len() > hash.digest_len() {
        return Err(CredentialError::Secret);
    }
    let (seed, encrypted_seed) = match &endorsement.key {
        KeyMaterial::Rsa { exponent, modulus, .. } => to_rsa(hash, *exponent, modulus, seed.bytes)?,
        KeyMaterial::Ecc { curve, point } => to_ecc(hash, *curve, point, seed.bytes)?,
    };
    let symmetric = endorsement.symmetric.ok_or(CredentialError::Unsupported)?;
    let key = kdf_a(hash, &seed, "STORAGE", [name, &[]], u32::from(symmetric.key_bits));
    let mut identity = sized(secret);
    encrypt(&key, &mut identity)?;
    let bits = u32::try_from(hash.digest_len() * 8).map_err(|_| CredentialError::Unsupported)?;
    let key = hmac::Key::new(hmac_algorithm(hash), &kdf_a(hash, &seed, "INTEGRITY", [&[], &[]], bits));
    let integrity = hmac::sign(&key, &[identity.as_slice(), name].concat());
    Ok(Challenge { credential: [sized(integrity.as_ref()), identity].concat(), encrypted_seed })
}

/// AES in CFB mode with an initial vector of zeros: each key encrypts once.
fn encrypt(key: &[u8], in_out: &mut [u8]) -> Result<(), CredentialError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(CredentialError::Unsupported),
    };
    let key = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::cfb128);
    let zeros = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let done = key.and_then(|key| key.less_safe_encrypt(in_out, zeros).map(drop));
    done.map_err(|_| CredentialError::Unsupported)
}

fn to_rsa(
    hash: HashAlgorithm,
    exponent: u32,
    modulus: &[u8],
    fresh: &[u8; 48],
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let algorithm = match hash {
        HashAlgorithm::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlgorithm::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlgorithm::Sha1 | HashAlgorithm::Sha512 => return Err(CredentialError::Unsupported),
    };
    let seed = fresh.get(..hash.digest_len()).ok_or(CredentialError::Unsupported)?.to_vec();
    let exponent = exponent.to_be_bytes();
    let components = PublicKeyComponents { n: modulus, e: without_leading_zeros(&exponent) };
    let key: PublicEncryptingKey = components.try_into().map_err(|_| CredentialError::Key)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Key)?;
    let mut out = vec![0; key.ciphertext_size()];
    let label = [LABEL.as_bytes(), &[0]].concat();
    let length = key.encrypt(algorithm, &seed, &mut out, Some(&label)).map_err(|_| CredentialError::Key)?.len();
    out.truncate(length);
    Ok((seed, out))
}

fn to_ecc(
    hash: HashAlgorithm,
    curve: Curve,
    point: &[u8],
    fresh: &[u8; 48],
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
    };
    let scalar = fresh.get(..curve.coordinate_len()).ok_or(CredentialError::Unsupported)?;
    let ephemeral = PrivateKey::from_private_key(algorithm, scalar).map_err(|_| CredentialError::Key)?;
    let own = ephemeral.compute_public_key().map_err(|_| CredentialError::Key)?;
    let (own_x, own_y) = coordinates(own.as_ref(), curve)?;
    let (their_x, _) = coordinates(point, curve)?;
    let bits = u32::try_from(hash.digest_len() * 8).map_err(|_| CredentialError::Unsupported)?;
    let derive = |z: &[u8]| Ok(kdf_e(hash, z, LABEL, [own_x, their_x], bits));
    let seed = agree(&ephemeral, UnparsedPublicKey::new(algorithm, point), CredentialError::Key, derive)?;
    Ok((seed, [sized(own_x), sized(own_y)].concat()))
}

fn coordinates(point: &[u8], curve: Curve) -> Result<(&[u8], &[u8]), CredentialError> {
    let point = point.get(1..).ok_or(CredentialError::Key)?;
    point.split_at_checked(curve.coordinate_len()).ok_or(CredentialError::Key)
}

/// A `TPM2B`: the length, then the bytes. Ours are short.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}
