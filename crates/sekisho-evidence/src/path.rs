//! Certificate paths from evidence to configured anchors.

use rustls_pki_types::{CertificateDer, UnixTime as PkiTime};
use sekisho_types::UnixTime;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate has no path to an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathError {
    Untrusted(String),
    /// No anchor is valid now.
    NoValidAnchor,
}

/// The authorities of the path that was verified, and of no other that the node may have sent.
pub(crate) fn verify_path(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    anchors: &[Vec<u8>],
    now: UnixTime,
    usage: impl ExtendedKeyUsageValidator,
) -> Result<Vec<Vec<u8>>, PathError> {
    let error = |e: webpki::Error| PathError::Untrusted(e.to_string());
    // webpki does not check the validity of an anchor.
    let valid = |der: &&Vec<u8>| validity(der).is_some_and(|(begin, end)| begin <= now && now <= end);
    let roots: Vec<_> = anchors.iter().filter(valid).map(|der| CertificateDer::from(der.as_slice())).collect();
    if roots.is_empty() {
        return Err(PathError::NoValidAnchor);
    }
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let leaf = CertificateDer::from(leaf);
    let chain: Vec<CertificateDer<'_>> = intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    let time = PkiTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let end_entity = EndEntityCert::try_from(&leaf).map_err(error)?;
    let verified =
        end_entity.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain, time, usage, None, None);
    let path = verified.map_err(error)?;
    let used = roots.iter().filter(|root| anchor_from_trusted_cert(root).is_ok_and(|anchor| anchor == *path.anchor()));
    let between = path.intermediate_certificates().map(|certificate| certificate.der().to_vec());
    Ok(between.chain(used.map(|root| root.to_vec())).collect())
}

/// Takes a certificate that was made for any purpose, as SPIRE does with those of nodes: their authority counts.
pub(crate) struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, mut iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        iter.try_for_each(|purpose| purpose.map(drop))
    }
}

/// When the first certificate of a verified path expires.
pub(crate) fn path_ends_at(leaf: &[u8], authorities: &[Vec<u8>]) -> Option<UnixTime> {
    let path = std::iter::once(leaf).chain(authorities.iter().map(Vec::as_slice));
    path.filter_map(validity).map(|(_, end)| end).min()
}

/// From when until when a certificate is valid.
pub(crate) fn validity(der: &[u8]) -> Option<(UnixTime, UnixTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let seconds = |time: x509_parser::time::ASN1Time| UnixTime::from_seconds(time.timestamp());
    Some((seconds(validity.not_before), seconds(validity.not_after)))
}
