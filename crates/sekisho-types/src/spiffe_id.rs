//! SPIFFE IDs and trust domain names (SPIFFE-ID.md §2).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";

/// Longest SPIFFE ID accepted, in bytes (SPIFFE-ID.md §2.3).
const MAX_URI_BYTES: usize = 2048;
/// Longest trust domain name, in bytes (SPIFFE-ID.md §2.1).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Why a text is not a SPIFFE ID. Its sender can fix it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    #[error("a SPIFFE ID starts with `spiffe://`")]
    Scheme,
    #[error("the trust domain is empty")]
    EmptyTrustDomain,
    #[error("a trust domain holds only a-z, 0-9, `.`, `-` and `_`, at most 255 bytes")]
    TrustDomainCharacter,
    #[error("a path segment holds only a-z, A-Z, 0-9, `.`, `-` and `_`")]
    PathCharacter,
    #[error("a path has no empty segment and no trailing slash")]
    EmptySegment,
    #[error("a path has no `.` or `..` segment")]
    DotSegment,
    #[error("a SPIFFE ID is at most 2048 bytes")]
    TooLong,
    #[error("the path is empty, so this names a trust domain and not a workload")]
    NoPath,
}

/// A trust domain name: lower case, without scheme. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a bare name such as `prod.internal`.
    pub fn parse(name: &str) -> Result<Self, SpiffeIdError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the trust domain itself, as its authorities carry it.
    pub fn id(&self) -> SpiffeId {
        SpiffeId::of(self, "")
    }

    /// The ID of a workload below this trust domain; `path` starts with a slash.
    pub fn workload(&self, path: &str) -> Result<SpiffeId, SpiffeIdError> {
        check_path(path)?;
        if path.is_empty() {
            return Err(SpiffeIdError::NoPath);
        }
        if SCHEME.len() + self.0.len() + path.len() > MAX_URI_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        Ok(SpiffeId::of(self, path))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID in its one canonical form, so that comparing bytes compares identities. Clones share it: many entries
/// have one parent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(Arc<str>);

impl Ord for SpiffeId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SpiffeId {
    /// Parses `spiffe://trust-domain/path`. Scheme and trust domain are read without regard to case
    /// (SPIFFE-ID.md §2.4); the path is not changed.
    pub fn parse(uri: &str) -> Result<Self, SpiffeIdError> {
        if uri.len() > MAX_URI_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        let (scheme, rest) = uri.split_once("://").ok_or(SpiffeIdError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("spiffe") {
            return Err(SpiffeIdError::Scheme);
        }
        let (name, path) = split_name(rest);
        check_path(path)?;
        if scheme == "spiffe" && check_name(name).is_ok() {
            return Ok(Self(uri.into()));
        }
        Ok(Self::of(&TrustDomain::parse(&name.to_ascii_lowercase())?, path))
    }

    /// Parses an ID that names a workload, not a trust domain.
    pub fn parse_workload(uri: &str) -> Result<Self, SpiffeIdError> {
        let id = Self::parse(uri)?;
        if id.path().is_empty() { Err(SpiffeIdError::NoPath) } else { Ok(id) }
    }

    /// Of a path that was checked.
    fn of(trust_domain: &TrustDomain, path: &str) -> Self {
        Self([SCHEME, trust_domain.as_str(), path].concat().into())
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.parts().0.into())
    }

    /// The name of its trust domain.
    pub fn trust_domain_name(&self) -> &str {
        self.parts().0
    }

    /// The path with its leading slash, or nothing for a trust domain's own ID.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.as_str()
    }

    fn parts(&self) -> (&str, &str) {
        split_name(self.0.strip_prefix(SCHEME).unwrap_or_default())
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A trust domain's name and the path behind it.
fn split_name(rest: &str) -> (&str, &str) {
    rest.find('/').and_then(|slash| rest.split_at_checked(slash)).unwrap_or((rest, ""))
}

fn check_name(name: &str) -> Result<(), SpiffeIdError> {
    if name.is_empty() {
        return Err(SpiffeIdError::EmptyTrustDomain);
    }
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if name.len() > MAX_TRUST_DOMAIN_BYTES || !name.bytes().all(legal) {
        return Err(SpiffeIdError::TrustDomainCharacter);
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Err(SpiffeIdError::PathCharacter);
    };
    for segment in segments.split('/') {
        match segment {
            "" => return Err(SpiffeIdError::EmptySegment),
            "." | ".." => return Err(SpiffeIdError::DotSegment),
            _ => {}
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !segment.bytes().all(legal) {
            return Err(SpiffeIdError::PathCharacter);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_survives_parsing() {
        let id = SpiffeId::parse("SPIFFE://Prod.Internal/ns/Finance").unwrap();
        assert_eq!(id.to_string(), "spiffe://prod.internal/ns/Finance");
        assert_eq!((id.trust_domain_name(), id.path()), ("prod.internal", "/ns/Finance"));
        assert_eq!(
            (id.trust_domain().workload(id.path()).unwrap(), SpiffeId::parse(id.as_str()).unwrap()),
            (id.clone(), id)
        );
        let own = SpiffeId::parse("spiffe://td").unwrap();
        assert_eq!((own.trust_domain_name(), own.path()), ("td", ""));
        assert_eq!(own, TrustDomain::parse("td").unwrap().id());
    }

    #[test]
    fn every_character_outside_the_sets_is_refused() {
        for byte in 0u8..=255 {
            let c = char::from(byte);
            let path_ok = c.is_ascii_alphanumeric() || ".-_".contains(c) || c == '/';
            let path = SpiffeId::parse(&format!("spiffe://td/a{c}b"));
            assert_eq!(path.is_ok(), path_ok, "path {c:?}");
            let domain_ok = c.is_ascii_alphanumeric() || ".-_".contains(c);
            let domain = SpiffeId::parse(&format!("spiffe://a{c}b/x"));
            assert_eq!(domain.is_ok(), domain_ok || c == '/', "domain {c:?}");
        }
    }

    #[test]
    fn ambiguous_forms_are_refused() {
        for bad in [
            "",
            "spiffe:/td/a",
            "http://td/a",
            "spiffe:///a",
            "spiffe://td/",
            "spiffe://td//a",
            "spiffe://td/a/",
            "spiffe://td/./a",
            "spiffe://td/../a",
            "spiffe://user@td/a",
            "spiffe://td:1/a",
            "spiffe://td/a?q",
            "spiffe://td/a#f",
            "spiffe://td/%61",
        ] {
            assert!(SpiffeId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://td/{}", "a".repeat(2048))), Err(SpiffeIdError::TooLong));
        assert_eq!(SpiffeId::parse_workload("spiffe://td"), Err(SpiffeIdError::NoPath));
    }
}
