//! The certificates that we issue: leaf and authority profiles (X509-SVID.md §3–4).

use sekisho_types::{Claims, SignatureAlgorithm, SpiffeId, TrustDomain, UnixTime};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use crate::{Issuance, claims_extension, der, issuance};

/// A certificate is valid from this long before it is issued, against clocks that run behind.
pub const BACKDATE_SECONDS: i64 = 10;

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
        let extensions = [
            key_usage(&[0, 2, 4]),
            extension(&[2, 5, 29, 37], false, &der::sequence(&[server_auth(), client_auth()])),
            basic_constraints(false),
            authority_key_id(&key_id),
        ];
        Ok(Self { name: ca_name(ca), extensions: extensions.concat() })
    }
}

/// The bytes to be signed of a leaf below `issuer`.
pub fn leaf_tbs(leaf: &LeafTemplate<'_>, issuer: &Issuer) -> Result<Vec<u8>, ProfileError> {
    let common_name = leaf.dns_names.first().map(String::as_str);
    let claims = Some(leaf.claims).filter(|claims| !claims.is_empty()).map(claims_extension::encode);
    let claims = claims.map(|claims| extension(&claims_extension::CLAIMS_OID, false, &claims));
    let origin = leaf.issuance.map(|origin| extension(&issuance::ISSUANCE_OID, false, &issuance::encode(origin)));
    let extensions = [
        issuer.extensions.as_slice(),
        &extension(&[2, 5, 29, 14], false, &der::tlv(der::OCTET_STRING, &subject_key_id(leaf.public_key)?)),
        &subject_alt_name(leaf.spiffe_id, leaf.dns_names),
        claims.as_deref().unwrap_or_default(),
        origin.as_deref().unwrap_or_default(),
    ];
    let subject = name(Some("SPIRE"), common_name);
    Ok(tbs(leaf.serial, &issuer.name, leaf.not_before, leaf.not_after, &subject, leaf.public_key, &extensions))
}

/// The bytes to be signed of an authority's own certificate. It carries the trust domain's SPIFFE ID.
pub fn ca_tbs(ca: &CaTemplate<'_>) -> Result<Vec<u8>, ProfileError> {
    let key_id = subject_key_id(ca.public_key)?;
    let extensions = [
        key_usage(&[5, 6]),
        basic_constraints(true),
        extension(&[2, 5, 29, 14], false, &der::tlv(der::OCTET_STRING, &key_id)),
        subject_alt_name(&ca.trust_domain.id(), &[]),
    ];
    let name = ca_name(ca);
    Ok(tbs(ca.serial, &name, ca.not_before, ca.not_after, &name, ca.public_key, &extensions))
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
    Ok(der::sequence(&[tbs, &ecdsa_with_sha256(), &der::bit_string(signature)]))
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

fn tbs(
    serial: [u8; 16],
    issuer: &[u8],
    not_before: UnixTime,
    not_after: UnixTime,
    subject: &[u8],
    public_key: &[u8],
    extensions: &[impl AsRef<[u8]>],
) -> Vec<u8> {
    der::sequence(&[
        der::tlv(0xa0, &der::integer(2)).as_slice(),
        &der::unsigned(&serial),
        &ecdsa_with_sha256(),
        issuer,
        &der::sequence(&[der::time(not_before), der::time(not_after)]),
        subject,
        public_key,
        &der::tlv(0xa3, &der::sequence(extensions)),
    ])
}

fn ecdsa_with_sha256() -> Vec<u8> {
    der::sequence(&[der::oid(&[1, 2, 840, 10045, 4, 3, 2])])
}

fn server_auth() -> Vec<u8> {
    der::oid(&[1, 3, 6, 1, 5, 5, 7, 3, 1])
}

fn client_auth() -> Vec<u8> {
    der::oid(&[1, 3, 6, 1, 5, 5, 7, 3, 2])
}

/// The default subject of SPIRE's SVIDs, so that tools that look at it find what they expect.
fn name(organisation: Option<&str>, common_name: Option<&str>) -> Vec<u8> {
    let attribute = |arcs: &[u32], tag: u8, value: &str| {
        der::of(der::SET, &[der::sequence(&[der::oid(arcs), der::tlv(tag, value.as_bytes())])])
    };
    let mut parts = vec![attribute(&[2, 5, 4, 6], 0x13, "US")];
    parts.extend(organisation.map(|o| attribute(&[2, 5, 4, 10], der::UTF8_STRING, o)));
    parts.extend(common_name.map(|cn| attribute(&[2, 5, 4, 3], der::UTF8_STRING, cn)));
    der::sequence(&parts)
}

/// Authorities that overlap differ in name, so that a verifier tries the right one.
fn ca_name(ca: &CaTemplate<'_>) -> Vec<u8> {
    let serial: String = ca.serial.iter().map(|byte| format!("{byte:02x}")).collect();
    name(Some("Sekisho"), Some(&format!("{} {serial}", short(ca.trust_domain.as_str()))))
}

/// A common name is at most 64 characters (RFC 5280 appendix A, ub-common-name); the serial takes 33.
fn short(trust_domain: &str) -> &str {
    trust_domain.get(..31).unwrap_or(trust_domain)
}

fn extension(arcs: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(arcs)];
    if critical {
        parts.push(der::boolean(true));
    }
    parts.push(der::tlv(der::OCTET_STRING, value));
    der::sequence(&parts)
}

fn key_usage(bits: &[u8]) -> Vec<u8> {
    extension(&[2, 5, 29, 15], true, &der::named_bits(bits))
}

fn basic_constraints(authority: bool) -> Vec<u8> {
    let value = if authority { der::sequence(&[der::boolean(true)]) } else { der::tlv(der::SEQUENCE, &[]) };
    extension(&[2, 5, 29, 19], true, &value)
}

fn authority_key_id(key_id: &[u8]) -> Vec<u8> {
    extension(&[2, 5, 29, 35], false, &der::sequence(&[der::tlv(0x80, key_id)]))
}

fn subject_alt_name(id: &SpiffeId, dns_names: &[String]) -> Vec<u8> {
    let mut names = vec![der::tlv(0x86, id.as_str().as_bytes())];
    names.extend(dns_names.iter().map(|dns| der::tlv(0x82, dns.as_bytes())));
    extension(&[2, 5, 29, 17], false, &der::sequence(&names))
}
