use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::x509_profile;

/// What an authority's certificate says, once it is one for `trust_domain` (X509-SVID.md §4.1).
pub(crate) fn authority_facts(der: &[u8], trust_domain: &TrustDomain) -> Option<(UnixTime, [u8; 20])> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() || !certificate.is_ca() {
        return None;
    }
    let signs = certificate.key_usage().ok()?.is_none_or(|usage| usage.value.key_cert_sign());
    let names = certificate.subject_alternative_name().ok()?;
    let uris = names.iter().flat_map(|san| &san.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let ours = uris.into_iter().all(|uri| SpiffeId::parse(uri).is_ok_and(|id| id == trust_domain.id()));
    if !signs || !ours {
        return None;
    }
    let key_id = x509_profile::subject_key_id(certificate.public_key().raw).ok()?;
    Some((UnixTime::from_seconds(certificate.validity().not_after.timestamp()), key_id))
}
