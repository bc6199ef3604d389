//! Trust bundles: the authorities of one trust domain, never merged with another's.

use sekisho_types::{Digest, TrustDomain, UnixTime};

use crate::x509_authority::authority_facts;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error(
        "the certificate is not an authority of `{0}`: it must be a CA certificate with that trust domain's ID, or none"
    )]
    NotAnAuthority(TrustDomain),
    #[error("the bundle's sequence went from {held} to {offered}: an older bundle is not taken")]
    Rollback { held: u64, offered: u64 },
    #[error("the bundle's content changed while its sequence stayed {0}")]
    Equivocation(u64),
}

/// A certificate that signs X.509-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509Authority {
    pub der: Vec<u8>,
    pub tainted: bool,
}

/// A key that signs JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuthority {
    pub key_id: String,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When its last token ends; `None` when the publisher did not say.
    pub expires_at: Option<UnixTime>,
    pub tainted: bool,
}

/// One trust domain's authorities. Empty means that nothing of the domain is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub trust_domain: TrustDomain,
    pub x509_authorities: Vec<X509Authority>,
    pub jwt_authorities: Vec<JwtAuthority>,
    pub wit_authorities: Vec<JwtAuthority>,
    pub refresh_hint_seconds: Option<u32>,
    pub sequence: Option<u64>,
}

impl Bundle {
    pub const fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: vec![],
            jwt_authorities: vec![],
            wit_authorities: vec![],
            refresh_hint_seconds: None,
            sequence: None,
        }
    }

    /// Adds a certificate if it is an authority of this trust domain.
    pub fn add_x509(&mut self, der: Vec<u8>) -> Result<(), BundleError> {
        if authority_facts(&der, &self.trust_domain).is_none() {
            return Err(BundleError::NotAnAuthority(self.trust_domain.clone()));
        }
        if !self.x509_authorities.iter().any(|known| known.der == der) {
            self.x509_authorities.push(X509Authority { der, tainted: false });
        }
        Ok(())
    }

    /// The authorities' certificates, concatenated, as the Workload API carries them.
    pub fn x509_concatenated(&self) -> Vec<u8> {
        self.x509_authorities.iter().flat_map(|authority| authority.der.iter().copied()).collect()
    }

    /// SHA-256 over the first authority's certificate, for bootstrapping by fingerprint.
    pub fn fingerprints(&self) -> Vec<Digest> {
        self.x509_authorities.iter().map(|authority| crate::sha256(&authority.der)).collect()
    }

    /// Takes `offered` in place of this bundle if it is newer, and says whether anything changed.
    pub fn replace_with(&mut self, offered: Self) -> Result<bool, BundleError> {
        match (self.sequence, offered.sequence) {
            (Some(held), Some(new)) if new < held => Err(BundleError::Rollback { held, offered: new }),
            (Some(held), None) => Err(BundleError::Rollback { held, offered: 0 }),
            (Some(held), Some(new)) if new == held && *self != offered => Err(BundleError::Equivocation(held)),
            _ => {
                let changed = *self != offered;
                *self = offered;
                Ok(changed)
            }
        }
    }
}
