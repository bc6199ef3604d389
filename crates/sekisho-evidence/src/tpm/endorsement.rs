//! The endorsement key: its certificate by the TPM's manufacturer (TCG EK Credential Profile 2.6) and its template.

use sekisho_types::{Digest, UnixTime};
use webpki::KeyUsage;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::public::{Curve, KeyMaterial, Public, Symmetric, without_leading_zeros};
use crate::path::{PathError, validity, verify_path};
use crate::sha256;

/// `tcg-kp-EKCertificate`, 2.23.133.8.1.
const EK_PURPOSE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// Of each endorsement key by a template.
const RSA_EXPONENT: u32 = 65_537;
const AES: u16 = 0x0006;
const CFB: u16 = 0x0043;
/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt (templates L-1 and L-2).
const LOW_RANGE: u32 = 0x0003_00b2;
/// The same with userWithAuth (templates H-1 to H-7).
const HIGH_RANGE: u32 = 0x0003_00f2;
/// The policy of endorsement keys of the low range: `TPM2_PolicySecret` of the endorsement hierarchy, SHA-256.
pub const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Why an endorsement key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    #[error("the endorsement certificate is not trusted here: {0}")]
    Path(String),
    #[error("no authority for endorsement certificates is valid now; renew their file, or check the clock")]
    NoValidAnchor,
    #[error("the endorsement certificate is malformed: {0}")]
    Form(&'static str),
    #[error("the endorsement key is not the one of the certificate")]
    OtherKey,
    #[error("the endorsement key does not follow a TCG template: {0}")]
    Template(&'static str),
}

/// What a manufacturer states about a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementCertificate {
    pub subject_cn: Option<String>,
    /// `id:` and the vendor's identifier in hexadecimal (TCG Vendor ID Registry).
    pub manufacturer: String,
    pub model: String,
    /// `id:` and the firmware version in hexadecimal.
    pub version: String,
    /// When the first certificate of the path expires.
    pub ends_at: UnixTime,
    /// SHA-256 of the SubjectPublicKeyInfo: the name of the TPM's permanent identity.
    pub spki: Digest,
    key: KeyMaterial,
}

impl EndorsementCertificate {
    /// Verifies the path to an anchor, the purpose, and the form of an endorsement certificate.
    ///
    /// # Errors
    /// No path at `now`, another purpose, or a missing attribute.
    pub fn verify(
        der: &[u8],
        intermediates: &[Vec<u8>],
        anchors: &[Vec<u8>],
        now: UnixTime,
    ) -> Result<Self, EndorsementError> {
        let authorities = verify_path(der, intermediates, anchors, now, KeyUsage::required_if_present(EK_PURPOSE))
            .map_err(|error| match error {
                PathError::Untrusted(why) => EndorsementError::Path(why),
                PathError::NoValidAnchor => EndorsementError::NoValidAnchor,
            })?;
        Self::read(der, &authorities)
    }

    /// Checks purpose and form only: no authority vouches for what it states.
    ///
    /// # Errors
    /// Another purpose, a missing attribute, or a time at which it is not valid.
    pub fn unvouched(der: &[u8], now: UnixTime) -> Result<Self, EndorsementError> {
        let read = Self::read(der, &[])?;
        let is_valid = validity(der).is_some_and(|(from, to)| from <= now && now <= to);
        if is_valid { Ok(read) } else { Err(EndorsementError::Form("it is not valid at this time")) }
    }

    fn read(der: &[u8], authorities: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        let form = EndorsementError::Form;
        let path = std::iter::once(der).chain(authorities.iter().map(Vec::as_slice));
        let ends_at = path.filter_map(validity).map(|(_, end)| end).min().ok_or(form("it has no validity"))?;
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| form("it is not a certificate"))?;
        if !rest.is_empty() {
            return Err(form("bytes follow the certificate"));
        }
        // An authority may leave its purposes out. The endorsement certificate may not.
        let purposes = certificate.extended_key_usage().ok().flatten().map(|purposes| &purposes.value.other);
        if !purposes.is_some_and(|purposes| purposes.iter().any(|purpose| purpose.as_bytes() == EK_PURPOSE)) {
            return Err(form("its purpose is not that of an endorsement key"));
        }
        let key = certificate_key(&certificate).map_err(form)?;
        let usage = certificate.key_usage().ok().flatten().ok_or(form("it has no key usage"))?.value;
        let fits = match key {
            KeyMaterial::Rsa { .. } => usage.key_encipherment(),
            KeyMaterial::Ecc { .. } => usage.key_agreement(),
        };
        if !fits {
            return Err(form("its key usage is neither key encipherment (RSA) nor key agreement (ECC)"));
        }
        let names = certificate.subject_alternative_name().ok().flatten().ok_or(form("it has no alternative name"))?;
        let attribute = |arc: u64, missing: &'static str| {
            let wanted = Oid::from(&[2, 23, 133, 2, arc]).map_err(|_| form(missing))?;
            let directories = names.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DirectoryName(directory) => Some(directory),
                _ => None,
            });
            let mut values = directories.flat_map(|directory| directory.iter_by_oid(&wanted));
            let value = values.next().and_then(|value| value.as_str().ok()).ok_or(form(missing))?;
            if values.next().is_some() || value.len() > 256 || value.chars().any(char::is_control) {
                return Err(form(missing));
            }
            Ok(value.to_owned())
        };
        let subject_cn = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            subject_cn: subject_cn.map(str::to_owned),
            manufacturer: attribute(1, "it does not name one TPM manufacturer")?,
            model: attribute(2, "it does not name one TPM model")?,
            version: attribute(3, "it does not name one TPM version")?,
            ends_at,
            spki: sha256(certificate.public_key().raw),
            key,
        })
    }

    /// Checks that `public` is this certificate's key, made from a standard template.
    ///
    /// # Errors
    /// Another key, or another template: such a key could do more than decrypt credentials.
    pub fn check_key(&self, public: &Public) -> Result<(), EndorsementError> {
        if public.key != self.key {
            return Err(EndorsementError::OtherKey);
        }
        let template = |wrong| Err(EndorsementError::Template(wrong));
        match public.attributes.bits() {
            LOW_RANGE if public.policy != ENDORSEMENT_POLICY => {
                return template("its policy is not that of the endorsement hierarchy");
            }
            LOW_RANGE | HIGH_RANGE => {}
            _ => return template("its attributes are others"),
        }
        if public.scheme.is_some() {
            return template("it has a scheme");
        }
        match public.symmetric {
            Some(Symmetric { algorithm: AES, key_bits: 128 | 256, mode: CFB }) => Ok(()),
            _ => template("its symmetric algorithm is not AES in CFB mode"),
        }
    }
}

/// The key of a certificate, as a TPM's public area would have it.
pub(crate) fn certificate_key(certificate: &X509Certificate<'_>) -> Result<KeyMaterial, &'static str> {
    match certificate.public_key().parsed().map_err(|_| "its key is not readable")? {
        PublicKey::RSA(rsa) => {
            let modulus = without_leading_zeros(rsa.modulus).to_vec();
            let bits = u16::try_from(modulus.len() * 8).map_err(|_| "its key is too long")?;
            let exponent = rsa.try_exponent().ok().and_then(|exponent| u32::try_from(exponent).ok());
            // With free exponents, one modulus would be as many keys.
            let exponent = exponent.filter(|exponent| *exponent == RSA_EXPONENT).ok_or("its exponent is not 65537")?;
            Ok(KeyMaterial::Rsa { bits, exponent, modulus })
        }
        PublicKey::EC(point) => {
            let curve = match point.data().len() {
                65 => Curve::P256,
                97 => Curve::P384,
                _ => return Err("its key is not a point on P-256 or P-384"),
            };
            Ok(KeyMaterial::Ecc { curve, point: point.data().to_vec() })
        }
        _ => Err("its key is neither RSA nor ECC"),
    }
}
