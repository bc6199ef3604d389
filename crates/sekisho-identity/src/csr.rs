//! Certificate signing requests (PKCS #10, RFC 2986): a public key and proof that its holder asks.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sekisho_types::{SignError, SignatureAlgorithm, Signer, SpiffeId, Verified};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::der::{self, Der};

/// Largest request that is read, in bytes; one with an RSA-4096 key fits.
const MAX_CSR_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("the CSR is not readable as DER PKCS #10, or is larger than 16 KiB")]
    Malformed,
    #[error("the CSR's key is not P-256, P-384 or RSA of 2048 to 4096 bits")]
    Key,
    #[error("the CSR's signature algorithm is not one for its key")]
    Algorithm,
    #[error("the CSR's signature is wrong: the caller does not hold the key")]
    Signature,
    #[error("the CSR names a SPIFFE ID that is malformed, or more than one")]
    SpiffeId,
}

/// What a request asks for. The name in it, if any, is only a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    pub claimed_id: Option<SpiffeId>,
}

impl Csr {
    /// Reads a request and checks its proof of possession.
    pub fn verify(der: &[u8]) -> Result<Verified<Self>, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::Malformed);
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let info = &csr.certification_request_info;
        let algorithm = algorithm(
            &info.subject_pki.parsed().map_err(|_| CsrError::Key)?,
            &csr.signature_algorithm.algorithm.to_id_string(),
        )?;
        let public_key = info.subject_pki.raw;
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(info.raw, &csr.signature_value.data)
            .map_err(|_| CsrError::Signature)?;
        let claimed_id = claimed_id(&csr)?;
        Ok(Verified::assertion(Self { public_key: public_key.to_vec(), claimed_id }))
    }
}

fn algorithm(key: &PublicKey<'_>, oid: &str) -> Result<&'static dyn VerificationAlgorithm, CsrError> {
    let bits = key.key_size();
    match (key, bits, oid) {
        (PublicKey::EC(_), 256, "1.2.840.10045.4.3.2") => Ok(&signature::ECDSA_P256_SHA256_ASN1),
        (PublicKey::EC(_), 384, "1.2.840.10045.4.3.3") => Ok(&signature::ECDSA_P384_SHA384_ASN1),
        (PublicKey::EC(_), 256 | 384, _) => Err(CsrError::Algorithm),
        (PublicKey::RSA(_), 2041..=4096, "1.2.840.113549.1.1.11") => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        (PublicKey::RSA(_), 2041..=4096, "1.2.840.113549.1.1.13") => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        (PublicKey::RSA(_), 2041..=4096, _) => Err(CsrError::Algorithm),
        _ => Err(CsrError::Key),
    }
}

fn claimed_id(csr: &X509CertificationRequest<'_>) -> Result<Option<SpiffeId>, CsrError> {
    let mut found = None;
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            if let GeneralName::URI(uri) = name {
                let id = SpiffeId::parse_workload(uri).map_err(|_| CsrError::SpiffeId)?;
                if found.replace(id).is_some() {
                    return Err(CsrError::SpiffeId);
                }
            }
        }
    }
    Ok(found)
}

/// A request for `key`, with the SPIFFE ID asked for, if any.
pub fn csr_der(key: &dyn Signer, id: Option<&SpiffeId>) -> Result<Vec<u8>, SignError> {
    let info = der::written(|der| {
        der.sequence(|der| {
            der.integer(0);
            der.tlv(der::SEQUENCE, &[]);
            der.raw(key.public_key_der());
            der.of(0xa0, |der| id.into_iter().for_each(|id| extension_request(der, id)));
        });
    });
    let algorithm: &[u32] = match key.algorithm() {
        SignatureAlgorithm::EcdsaP256Sha256 => &[1, 2, 840, 10045, 4, 3, 2],
        SignatureAlgorithm::Ed25519 => &[1, 3, 101, 112],
        SignatureAlgorithm::RsaPssSha256 => return Err(SignError("no SVID is asked for with an RSA key".to_owned())),
    };
    let signature = key.sign(&info)?;
    Ok(der::written(|der| {
        der.sequence(|der| {
            der.raw(&info);
            der.sequence(|der| der.oid(algorithm));
            der.bit_string(&signature);
        });
    }))
}

/// The attribute that asks for an extension: a subject alternative name with the SPIFFE ID (RFC 2985 §5.4.2).
fn extension_request(der: &mut Der, id: &SpiffeId) {
    let name = |der: &mut Der| {
        der.sequence(|der| {
            der.oid(&[2, 5, 29, 17]);
            der.of(der::OCTET_STRING, |der| der.sequence(|der| der.tlv(0x86, id.as_str().as_bytes())));
        });
    };
    der.sequence(|der| {
        der.oid(&[1, 2, 840, 113_549, 1, 9, 14]);
        der.of(der::SET, |der| der.sequence(name));
    });
}
