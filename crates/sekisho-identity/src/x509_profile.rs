//! The certificates that we issue: leaf and authority profiles (X509-SVID.md §3–4).

use sekisho_types::{Claims, SignatureAlgorithm, SpiffeId, TrustDomain, UnixTime};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use crate::der::{self, Der};
use crate::{Issuance, claims_extension, issuance};

/// A certificate is valid from this long before it is issued, against clocks that run behind.
pub const BACKDATE_SECONDS: i64 = 10;

/// What is signed of a usual certificate is shorter.
const USUAL_BYTES: usize = 1024;
/// Extended key usages.
const SERVER_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("the public key is not DER SubjectPublicKeyInfo")]
    PublicKey,
    #[error("an authority signs with P-256; this key does not")]
    SignatureAlgorithm,
}

/// What a leaf certificate says. Times and serial number come from the caller.
#[derive(Debug, Clone)]
pub struct LeafTemplate<'a> {
    pub spiffe_id: &'a SpiffeId,
    /// Big-endian, positive, at most 20 bytes (RFC 5280 §4.1.2.2).
    pub serial: [u8; 16],
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    /// DER SubjectPublicKeyInfo, from a CSR whose signature was checked.
    pub public_key: &'a [u8],
    /// The first becomes the common name as well.
    pub dns_names: &'a [String],
    pub claims: &'a Claims,
    pub issuance: Option<&'a Issuance>,
}

/// What an authority's self-signed certificate says.
#[derive(Debug, Clone)]
pub struct CaTemplate<'a> {
    pub trust_domain: &'a TrustDomain,
    pub serial: [u8; 16],
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub public_key: &'a [u8],
}

/// What all leaves of an authority say alike, encoded once.
#[derive(Debug, Clone)]
pub struct Issuer {
    name: Vec<u8>,
    /// Extensions: what the keys are for, and by whom the certificate is.
    extensions: Vec<u8>,
}

impl Issuer {
    pub fn of(ca: &CaTemplate<'_>) -> Result<Self, ProfileError> {
        let key_id = subject_key_id(ca.public_key)?;
        let extensions = der::written(|der| {
            key_usage(der, &[0, 2, 4]);
            extension(der, &[2, 5, 29, 37], false, |der| {
                der.sequence(|der| [SERVER_AUTH, CLIENT_AUTH].iter().for_each(|purpose| der.oid(purpose)));
            });
            basic_constraints(der, false);
            // The authority's key identifier.
            extension(der, &[2, 5, 29, 35], false, |der| der.sequence(|der| der.tlv(0x80, &key_id)));
        });
        Ok(Self { name: der::written(|der| ca_name(der, ca)), extensions })
    }
}

/// The bytes to be signed of a leaf below `issuer`.
pub fn leaf_tbs(leaf: &LeafTemplate<'_>, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    let common_name = leaf.dns_names.first().map(String::as_str);
    let key_id = subject_key_id(leaf.public_key)?;
    let signed = Signed { serial: leaf.serial, not_before: leaf.not_before, not_after: leaf.not_after };
    let (issuer_name, subject) =
        (|der: &mut Der| der.raw(&issuer.name), |der: &mut Der| name(der, "SPIRE", common_name));
    let extensions = |der: &mut Der| {
        der.raw(&issuer.extensions);
        subject_key(der, &key_id);
        subject_alt_name(der, leaf.spiffe_id, leaf.dns_names);
        if !leaf.claims.is_empty() {
            extension(der, &claims_extension::CLAIMS_OID, false, |der| claims_extension::write(leaf.claims, der));
        }
        if let Some(origin) = leaf.issuance {
            extension(der, &issuance::ISSUANCE_OID, false, |der| issuance::write(origin, der));
        }
    };
    Ok(tbs(&signed, issuer_name, subject, leaf.public_key, extensions))
}

/// The bytes to be signed of an authority's own certificate. It carries the trust domain's SPIFFE ID.
pub fn ca_tbs(ca: &CaTemplate<'_>) -> Result<Vec<u8>, ProfileError> {
    let key_id = subject_key_id(ca.public_key)?;
    let signed = Signed { serial: ca.serial, not_before: ca.not_before, not_after: ca.not_after };
    let name = |der: &mut Der| ca_name(der, ca);
    let extensions = |der: &mut Der| {
        key_usage(der, &[5, 6]);
        basic_constraints(der, true);
        subject_key(der, &key_id);
        subject_alt_name(der, &ca.trust_domain.id(), &[]);
    };
    Ok(tbs(&signed, name, name, ca.public_key, extensions))
}

/// The certificate of signed bytes.
pub fn assemble_certificate(
    tbs: &[u8],
    algorithm: SignatureAlgorithm,
    signature: &[u8],
) -> Result<Vec<u8>, ProfileError> {
    if algorithm != SignatureAlgorithm::EcdsaP256Sha256 {
        return Err(ProfileError::SignatureAlgorithm);
    }
    Ok(der::written_in(tbs.len() + signature.len() + 32, |der| {
        der.sequence(|der| {
            der.raw(tbs);
            ecdsa_with_sha256(der);
            der.bit_string(signature);
        });
    }))
}

/// The key identifier of RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of the key bits.
pub fn subject_key_id(public_key: &[u8]) -> Result<[u8; 20], ProfileError> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| ProfileError::PublicKey)?;
    if !rest.is_empty() {
        return Err(ProfileError::PublicKey);
    }
    let digest = crate::sha256(&spki.subject_public_key.data);
    digest.as_bytes().first_chunk::<20>().copied().ok_or(ProfileError::PublicKey)
}

/// What is written of every certificate by its template.
struct Signed {
    serial: [u8; 16],
    not_before: UnixTime,
    not_after: UnixTime,
}

fn tbs(
    signed: &Signed,
    issuer: impl FnOnce(&mut Der),
    subject: impl FnOnce(&mut Der),
    public_key: &[u8],
    extensions: impl FnOnce(&mut Der),
) -> Vec<u8> {
    der::written_in(USUAL_BYTES, |der| {
        der.sequence(|der| {
            der.of(0xa0, |der| der.integer(2));
            der.unsigned(&signed.serial);
            ecdsa_with_sha256(der);
            issuer(der);
            der.sequence(|der| [signed.not_before, signed.not_after].into_iter().for_each(|at| der.time(at)));
            subject(der);
            der.raw(public_key);
            der.of(0xa3, |der| der.sequence(extensions));
        });
    })
}

fn ecdsa_with_sha256(der: &mut Der) {
    der.sequence(|der| der.oid(&[1, 2, 840, 10045, 4, 3, 2]));
}

/// The default subject of SPIRE's SVIDs, so that tools that look at it find what they expect.
fn name(der: &mut Der, organisation: &str, common_name: Option<&str>) {
    let attribute = |der: &mut Der, arcs: &[u32], tag: u8, value: &str| {
        der.of(der::SET, |der| {
            der.sequence(|der| {
                der.oid(arcs);
                der.tlv(tag, value.as_bytes());
            });
        });
    };
    der.sequence(|der| {
        attribute(der, &[2, 5, 4, 6], 0x13, "US");
        attribute(der, &[2, 5, 4, 10], der::UTF8_STRING, organisation);
        if let Some(common_name) = common_name {
            attribute(der, &[2, 5, 4, 3], der::UTF8_STRING, common_name);
        }
    });
}

/// Authorities that overlap differ in name, so that a verifier tries the right one.
fn ca_name(der: &mut Der, ca: &CaTemplate<'_>) {
    let serial: String = ca.serial.iter().map(|byte| format!("{byte:02x}")).collect();
    name(der, "Sekisho", Some(&format!("{} {serial}", short(ca.trust_domain.as_str()))));
}

/// A common name is at most 64 characters (RFC 5280 appendix A, ub-common-name); the serial takes 33.
fn short(trust_domain: &str) -> &str {
    trust_domain.get(..31).unwrap_or(trust_domain)
}

fn extension(der: &mut Der, arcs: &[u32], critical: bool, value: impl FnOnce(&mut Der)) {
    der.sequence(|der| {
        der.oid(arcs);
        if critical {
            der.boolean(true);
        }
        der.of(der::OCTET_STRING, value);
    });
}

fn key_usage(der: &mut Der, bits: &[u8]) {
    extension(der, &[2, 5, 29, 15], true, |der| der.named_bits(bits));
}

fn basic_constraints(der: &mut Der, authority: bool) {
    extension(der, &[2, 5, 29, 19], true, |der| {
        der.sequence(|der| {
            if authority {
                der.boolean(true);
            }
        });
    });
}

fn subject_key(der: &mut Der, key_id: &[u8]) {
    extension(der, &[2, 5, 29, 14], false, |der| der.tlv(der::OCTET_STRING, key_id));
}

fn subject_alt_name(der: &mut Der, id: &SpiffeId, dns_names: &[String]) {
    extension(der, &[2, 5, 29, 17], false, |der| {
        der.sequence(|der| {
            der.tlv(0x86, id.as_str().as_bytes());
            dns_names.iter().for_each(|name| der.tlv(0x82, name.as_bytes()));
        });
    });
}

#[cfg(test)]
mod tests;
