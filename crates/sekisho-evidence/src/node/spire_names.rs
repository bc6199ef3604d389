//! How SPIRE names certificates in IDs and selectors.

use crate::HashAlgorithm;

/// SHA-1 of a certificate (DER). It is a name, and nothing is proved by it: the certificate was verified before.
pub(super) fn fingerprint(der: &[u8]) -> String {
    hex::encode(HashAlgorithm::Sha1.digest([der]))
}

/// The values of the selectors that name the authorities of a verified path.
pub(super) fn authority_selectors(authorities: &[Vec<u8>]) -> impl Iterator<Item = String> {
    authorities.iter().map(|authority| format!("ca:fingerprint:{}", fingerprint(authority)))
}
