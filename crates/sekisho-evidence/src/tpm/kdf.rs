//! The TPM's key derivation functions (TPM 2.0 Library, part 1, §11.4.10).

use aws_lc_rs::hmac;

use crate::hash::HashAlgorithm;

/// `KDFa`: SP 800-108 in counter mode. `bits` is a multiple of 8.
pub(super) fn kdf_a(hash: HashAlgorithm, key: &[u8], label: &str, context: [&[u8]; 2], bits: u32) -> Vec<u8> {
    let key = hmac::Key::new(hmac_algorithm(hash), key);
    let block = |counter: u32| {
        let mut context_of_block = hmac::Context::with_key(&key);
        let [u, v] = context;
        for part in [&counter.to_be_bytes(), label.as_bytes(), &[0], u, v, &bits.to_be_bytes()] {
            context_of_block.update(part);
        }
        context_of_block.sign().as_ref().to_vec()
    };
    blocks(block, bits)
}

/// `KDFe`: SP 800-56A with the shared point's x coordinate, and both public x coordinates.
pub(super) fn kdf_e(hash: HashAlgorithm, z: &[u8], label: &str, parties: [&[u8]; 2], bits: u32) -> Vec<u8> {
    let [u, v] = parties;
    let block = |counter: u32| hash.digest([counter.to_be_bytes().as_slice(), z, label.as_bytes(), &[0], u, v]);
    blocks(block, bits)
}

fn blocks(block: impl Fn(u32) -> Vec<u8>, bits: u32) -> Vec<u8> {
    let length = usize::try_from(bits / 8).unwrap_or_default();
    (1u32..).flat_map(block).take(length).collect()
}

pub(super) fn hmac_algorithm(hash: HashAlgorithm) -> hmac::Algorithm {
    match hash {
        HashAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
        HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
    }
}
