//! Between wire forms and words. What comes from the wire is checked here, once.

use sekisho_identity::{Bundle, BundleError, Entry, JwtAuthority, X509Authority};
use sekisho_types::{
    EntryId, IdError, Selector, SelectorError, SelectorSet, SpiffeId, SpiffeIdError, TrustDomain, UnixTime,
};

use crate::types;

/// Why a message is refused. Its sender can fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{field}`: {source}")]
    SpiffeId { field: &'static str, source: SpiffeIdError },
    #[error("selector: {0}")]
    Selector(#[from] SelectorError),
    #[error("entry id: {0}")]
    EntryId(#[from] IdError),
    #[error("`{0}` is negative or too large")]
    Number(&'static str),
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

pub fn id_to_wire(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid { trust_domain: id.trust_domain_name().to_owned(), path: id.path().to_owned() }
}

pub fn id_from_wire(id: Option<&types::Spiffeid>, field: &'static str) -> Result<SpiffeId, ConvertError> {
    let id = id.ok_or(ConvertError::Missing(field))?;
    let error = |source| ConvertError::SpiffeId { field, source };
    // The trust domain comes bare; SPIRE's clients send the path with its leading slash.
    TrustDomain::parse(&id.trust_domain).and_then(|domain| domain.workload(&id.path)).map_err(error)
}

pub fn selectors_to_wire<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<types::Selector> {
    let one = |s: &Selector| types::Selector { r#type: s.kind().to_owned(), value: s.value().to_owned() };
    selectors.into_iter().map(one).collect()
}

pub fn selectors_from_wire(selectors: &[types::Selector]) -> Result<SelectorSet, ConvertError> {
    selectors.iter().map(|s| Ok(Selector::new(&s.r#type, &s.value)?)).collect()
}

pub fn entry_to_wire(entry: &Entry) -> types::Entry {
    // One without a rest: a field that is added says here whether it goes over the wire.
    let Entry {
        id,
        spiffe_id,
        parent_id,
        selectors,
        x509_ttl_seconds,
        jwt_ttl_seconds,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        hint,
        created_at,
        disable_x509_prefetch,
        jwt_include_jti,
        tpm_key,
    } = entry;
    types::Entry {
        id: id.as_str().to_owned(),
        spiffe_id: Some(id_to_wire(spiffe_id)),
        parent_id: Some(id_to_wire(parent_id)),
        selectors: selectors_to_wire(selectors),
        x509_svid_ttl: i32::try_from(*x509_ttl_seconds).unwrap_or(i32::MAX),
        federates_with: federates_with.iter().map(|domain| domain.as_str().to_owned()).collect(),
        admin: *admin,
        downstream: *downstream,
        expires_at: expires_at.map_or(0, UnixTime::seconds),
        dns_names: dns_names.clone(),
        revision_number: *revision_number,
        store_svid: *store_svid,
        jwt_svid_ttl: i32::try_from(*jwt_ttl_seconds).unwrap_or(i32::MAX),
        hint: hint.clone(),
        created_at: created_at.seconds(),
        additional_attributes: (*disable_x509_prefetch || *jwt_include_jti).then_some(
            types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: *disable_x509_prefetch,
                jwt_svid_include_jti: *jwt_include_jti,
            },
        ),
        tpm_key: *tpm_key,
    }
}

/// An entry from the wire; `id` is used when the sender chose none. What the wire does not have, or not as exactly,
/// stays as it is in the entry that is `known`.
pub fn entry_from_wire(wire: &types::Entry, id: &EntryId, known: Option<&Entry>) -> Result<Entry, ConvertError> {
    let ttl = |value: i32, field| u32::try_from(value).map_err(|_| ConvertError::Number(field));
    let federates_with = wire.federates_with.iter().map(|name| {
        let name = name.strip_prefix("spiffe://").unwrap_or(name);
        TrustDomain::parse(name).map_err(|source| ConvertError::SpiffeId { field: "federates_with", source })
    });
    let attributes = wire.additional_attributes.unwrap_or_default();
    Ok(Entry {
        id: if wire.id.is_empty() { id.clone() } else { EntryId::parse(&wire.id)? },
        spiffe_id: id_from_wire(wire.spiffe_id.as_ref(), "spiffe_id")?,
        parent_id: id_from_wire(wire.parent_id.as_ref(), "parent_id")?,
        selectors: selectors_from_wire(&wire.selectors)?,
        x509_ttl_seconds: ttl(wire.x509_svid_ttl, "x509_svid_ttl")?,
        jwt_ttl_seconds: ttl(wire.jwt_svid_ttl, "jwt_svid_ttl")?,
        federates_with: federates_with.collect::<Result<_, _>>()?,
        admin: wire.admin,
        downstream: wire.downstream,
        expires_at: match wire.expires_at {
            0 => None,
            1.. => Some(UnixTime::from_seconds(wire.expires_at)),
            _ => return Err(ConvertError::Number("expires_at")),
        },
        dns_names: wire.dns_names.clone(),
        revision_number: wire.revision_number,
        store_svid: wire.store_svid,
        hint: wire.hint.clone(),
        created_at: known.map_or(UnixTime::from_seconds(wire.created_at), |known| known.created_at),
        disable_x509_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_include_jti: attributes.jwt_svid_include_jti,
        tpm_key: wire.tpm_key,
    })
}

pub fn bundle_to_wire(bundle: &Bundle) -> types::Bundle {
    let x509 = |a: &X509Authority| types::X509Certificate { asn1: a.der.clone(), tainted: a.tainted };
    let jwt = |key: &JwtAuthority| types::JwtKey {
        public_key: key.public_key.clone(),
        key_id: key.key_id.clone(),
        expires_at: key.expires_at.map_or(0, UnixTime::seconds),
        tainted: key.tainted,
    };
    types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        x509_authorities: bundle.x509_authorities.iter().map(x509).collect(),
        jwt_authorities: bundle.jwt_authorities.iter().map(jwt).collect(),
        refresh_hint: bundle.refresh_hint_seconds.map_or(0, i64::from),
        sequence_number: bundle.sequence.unwrap_or(0),
    }
}

pub fn bundle_from_wire(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let error = |source| ConvertError::SpiffeId { field: "trust_domain", source };
    let mut bundle = Bundle::empty(TrustDomain::parse(&wire.trust_domain).map_err(error)?);
    for authority in &wire.x509_authorities {
        bundle.add_x509(authority.asn1.clone())?;
        if let Some(last) = bundle.x509_authorities.last_mut() {
            last.tainted = authority.tainted;
        }
    }
    bundle.jwt_authorities = wire
        .jwt_authorities
        .iter()
        .map(|key| JwtAuthority {
            key_id: key.key_id.clone(),
            public_key: key.public_key.clone(),
            expires_at: (key.expires_at > 0).then(|| UnixTime::from_seconds(key.expires_at)),
            tainted: key.tainted,
        })
        .collect();
    bundle.refresh_hint_seconds = u32::try_from(wire.refresh_hint).ok().filter(|hint| *hint > 0);
    bundle.sequence = Some(wire.sequence_number);
    Ok(bundle)
}

/// google.rpc.Status, as it travels in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

const DENIED_DETAILS: &str = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";

/// PermissionDenied with the reason that tells an agent what to do: attest again, or stop.
pub fn reason_status(message: &str, reason: types::permission_denied_details::Reason) -> tonic::Status {
    use prost::Message as _;
    let details = types::PermissionDeniedDetails { reason: reason.into() };
    let any = prost_types::Any { type_url: DENIED_DETAILS.to_owned(), value: details.encode_to_vec() };
    let code = tonic::Code::PermissionDenied;
    let status = RpcStatus { code: code as i32, message: message.to_owned(), details: vec![any] };
    tonic::Status::with_details(code, message, status.encode_to_vec().into())
}

/// The reason of a PermissionDenied, if the server gave one.
pub fn status_reason(status: &tonic::Status) -> Option<types::permission_denied_details::Reason> {
    use prost::Message as _;
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let any = details.into_iter().find(|any| any.type_url == DENIED_DETAILS)?;
    let details = types::PermissionDeniedDetails::decode(any.value.as_slice()).ok()?;
    types::permission_denied_details::Reason::try_from(details.reason).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPIRE #6636: one flag was copied into another. Each field alone goes there and back.
    #[test]
    fn an_entry_survives_the_wire_field_by_field() {
        let plain = types::Entry {
            id: "e".into(),
            spiffe_id: Some(types::Spiffeid { trust_domain: "td.example".into(), path: "/a".into() }),
            parent_id: Some(types::Spiffeid { trust_domain: "td.example".into(), path: "/n".into() }),
            selectors: vec![types::Selector { r#type: "unix".into(), value: "uid:1".into() }],
            ..Default::default()
        };
        let attributes = |prefetch, jti| types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: prefetch,
            jwt_svid_include_jti: jti,
        };
        let changes: [fn(&mut types::Entry); 13] = [
            |_| {},
            |entry| entry.admin = true,
            |entry| entry.downstream = true,
            |entry| entry.tpm_key = true,
            |entry| entry.store_svid = true,
            |entry| entry.x509_svid_ttl = 7,
            |entry| entry.jwt_svid_ttl = 8,
            |entry| entry.expires_at = 9,
            |entry| entry.created_at = 10,
            |entry| entry.revision_number = 11,
            |entry| entry.hint = "h".into(),
            |entry| entry.dns_names = vec!["a.example".into()],
            |entry| entry.federates_with = vec!["other.example".into()],
        ];
        let id = EntryId::parse("other").unwrap();
        let round = |wire: &types::Entry| entry_to_wire(&entry_from_wire(wire, &id, None).unwrap());
        for change in changes {
            let mut wire = plain.clone();
            change(&mut wire);
            assert_eq!(round(&wire), wire);
        }
        for (prefetch, jti) in [(true, false), (false, true), (true, true)] {
            let wire = types::Entry { additional_attributes: Some(attributes(prefetch, jti)), ..plain.clone() };
            assert_eq!(round(&wire), wire);
        }
    }
}
