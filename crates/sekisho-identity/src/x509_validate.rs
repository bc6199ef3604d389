//! Checking X.509-SVIDs (X509-SVID.md §5): path validation, then the leaf's own rules.

use rustls_pki_types::{CertificateDer, UnixTime as PkiTime};
use sekisho_types::{Claims, SpiffeId, TrustDomain, UnixTime, Verified};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Bundle, Issuance, claims_extension, issuance};

/// Longest chain that is looked at; leaf included.
const MAX_CHAIN: usize = 8;
/// Largest certificate that is looked at, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Why a certificate is not an X.509-SVID that we accept. The peer can fix each, except the last two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    #[error("no certificate, more than {MAX_CHAIN}, or one larger than 32 KiB")]
    ChainSize,
    #[error("a certificate is not readable as DER X.509")]
    Malformed,
    #[error("the leaf has no URI SAN, or more than one")]
    UriSan,
    #[error("the leaf's URI SAN is not a workload's SPIFFE ID: {0}")]
    SpiffeId(#[from] sekisho_types::SpiffeIdError),
    #[error("the leaf is a CA certificate")]
    LeafIsCa,
    #[error("the leaf lacks the key usage digitalSignature, or may sign certificates or CRLs")]
    KeyUsage,
    #[error("the leaf's extended key usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage,
    #[error("the extension with claims, or the one with the issuance, is not of the form that this version reads")]
    Claims,
    #[error("the SPIFFE ID is of trust domain `{found}`, and the bundle is of `{wanted}`")]
    TrustDomain { found: TrustDomain, wanted: TrustDomain },
    #[error("the bundle of `{0}` holds no authority: nothing of it is trusted")]
    EmptyBundle(TrustDomain),
    #[error("no authority in the bundle of `{0}` is valid now; check the clock, then fetch the bundle again")]
    NoValidAuthority(TrustDomain),
    #[error("the chain does not lead to an authority of the bundle: {0}")]
    Path(String),
}

/// The content of a leaf certificate whose own rules hold. Its chain is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFacts {
    pub spiffe_id: SpiffeId,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub serial: String,
    pub claims: Claims,
    /// Absent in SVIDs that an earlier release or another implementation issued.
    pub issuance: Option<Issuance>,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
}

/// Splits concatenated DER certificates, as the Workload API carries them.
pub fn split_chain(mut concatenated: &[u8]) -> Result<Vec<Vec<u8>>, X509Error> {
    let mut chain = Vec::new();
    while !concatenated.is_empty() {
        let (rest, _) = X509Certificate::from_der(concatenated).map_err(|_| X509Error::Malformed)?;
        let (one, _) = concatenated.split_at(concatenated.len() - rest.len());
        chain.push(one.to_vec());
        concatenated = rest;
        if chain.len() > MAX_CHAIN {
            return Err(X509Error::ChainSize);
        }
    }
    Ok(chain)
}

/// Verifies a chain, leaf first, against the bundle of the leaf's own trust domain.
pub fn verify_svid(chain: &[Vec<u8>], bundle: &Bundle, now: UnixTime) -> Result<Verified<LeafFacts>, X509Error> {
    let too_large = chain.iter().any(|certificate| certificate.len() > MAX_CERTIFICATE_BYTES);
    let Some((leaf, intermediates)) = chain.split_first().filter(|_| chain.len() <= MAX_CHAIN && !too_large) else {
        return Err(X509Error::ChainSize);
    };
    let facts = leaf_facts(leaf)?;
    if !facts.spiffe_id.is_member_of(&bundle.trust_domain) {
        let found = facts.spiffe_id.trust_domain();
        return Err(X509Error::TrustDomain { found, wanted: bundle.trust_domain.clone() });
    }
    let roots: Vec<CertificateDer<'_>> =
        bundle.x509_authorities.iter().map(|authority| CertificateDer::from(authority.der.as_slice())).collect();
    if roots.is_empty() {
        return Err(X509Error::EmptyBundle(bundle.trust_domain.clone()));
    }
    // webpki does not check the validity of an anchor.
    let valid = roots.iter().filter(|root| is_valid(root, now));
    let anchors: Vec<_> = valid.filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    if anchors.is_empty() {
        return Err(X509Error::NoValidAuthority(bundle.trust_domain.clone()));
    }
    let path_error = |error: webpki::Error| X509Error::Path(error.to_string());
    let leaf_der = CertificateDer::from(leaf.as_slice());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(path_error)?;
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    let time = PkiTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            time,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(path_error)?;
    Ok(Verified::assertion(facts))
}

/// How early an authority counts. The bundle says that it is trusted, and the leaf's own beginning is checked to the
/// second: a clock that was set back by an hour must not cut everything off.
const EARLY_SECONDS: i64 = 24 * 3600;

/// Whether an authority has begun, or is about to, and has not expired.
fn is_valid(der: &[u8], now: UnixTime) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        let (begin, end) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        (begin - EARLY_SECONDS..=end).contains(&now.seconds())
    })
}

/// Reads a leaf and checks the rules that are its own: one SPIFFE ID with a path, no CA, its key usages.
pub fn leaf_facts(der: &[u8]) -> Result<LeafFacts, X509Error> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| X509Error::Malformed)?;
    if !rest.is_empty() {
        return Err(X509Error::Malformed);
    }
    let (mut uris, mut claims, mut origin) = (Vec::new(), Claims::default(), None);
    let (mut usage_seen, mut usage_ok, mut eku_ok, mut ca) = (false, false, true, false);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                uris.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some((*uri).to_owned()),
                    _ => None,
                }));
            }
            ParsedExtension::BasicConstraints(constraints) => ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                usage_seen = extension.critical;
                usage_ok = usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => eku_ok = usage.any || (usage.server_auth && usage.client_auth),
            _ if claims_extension::is_ours(extension.oid.as_bytes()) => {
                claims = claims_extension::decode(extension.value).ok_or(X509Error::Claims)?;
            }
            _ if issuance::is_ours(extension.oid.as_bytes()) => {
                origin = Some(issuance::decode(extension.value).ok_or(X509Error::Claims)?);
            }
            _ => {}
        }
    }
    let [uri] = uris.as_slice() else {
        return Err(X509Error::UriSan);
    };
    let spiffe_id = SpiffeId::parse_workload(uri)?;
    match (ca, usage_seen && usage_ok, eku_ok) {
        (true, ..) => Err(X509Error::LeafIsCa),
        (_, false, _) => Err(X509Error::KeyUsage),
        (.., false) => Err(X509Error::ExtendedKeyUsage),
        _ => Ok(LeafFacts {
            spiffe_id,
            not_before: UnixTime::from_seconds(certificate.validity().not_before.timestamp()),
            not_after: UnixTime::from_seconds(certificate.validity().not_after.timestamp()),
            serial: hex::encode(certificate.raw_serial()),
            claims,
            issuance: origin,
            public_key: certificate.public_key().raw.to_vec(),
        }),
    }
}

/// The public key of an authority's certificate, as DER SubjectPublicKeyInfo.
pub fn authority_public_key(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}
