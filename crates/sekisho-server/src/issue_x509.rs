//! X.509-SVIDs, as a kind of what is issued.

use sekisho_events::{IssuanceId, Selectors, X509Issued};
use sekisho_identity::{Allowed, LeafTemplate, ProfileError, assemble_certificate, leaf_tbs};
use sekisho_ledger::sha256_of;
use sekisho_types::{Digest, Signer, SpiffeId, UnixTime};

use crate::authorities::{AuthorityError, Signing};
use crate::budget::Budgets;
use crate::issue::{Basis, Draft, IssueError, Issued, Kind};
use crate::journal::personal;

#[derive(Clone, Copy)]
pub(crate) struct X509;

pub(crate) struct Certificate {
    pub der: Vec<u8>,
    pub serial: String,
}

pub(crate) type IssuedX509 = Issued<Certificate>;

impl Kind for X509 {
    type Identity = Certificate;

    const BUDGET: fn(&Budgets, &SpiffeId, usize, UnixTime) -> bool = Budgets::x509;

    fn draft(&self, allowed: &Allowed, basis: &Basis<'_>) -> Result<Draft, IssueError> {
        let Basis { signing, origin, requester, request, id } = basis;
        let leaf = LeafTemplate {
            spiffe_id: allowed.spiffe_id(),
            // Positive and of full length (RFC 5280 §4.1.2.2): it begins with the time, so with 1 to 0x7f until the
            // year 6429.
            serial: *id,
            not_before: allowed.not_before(),
            not_after: allowed.not_after(),
            public_key: allowed.public_key(),
            dns_names: allowed.dns_names(),
            claims: allowed.claims(),
            issuance: Some(origin),
        };
        let to_sign = leaf_tbs(&leaf, &signing.issuer).map_err(form)?;
        let event = X509Issued {
            attestors: request.attestors(),
            authority: signing.record.id.clone(),
            caller: personal(requester.name()),
            entry: allowed.entry_id().cloned(),
            evidence: allowed.evidence(),
            id: IssuanceId::new(*id),
            not_after: allowed.not_after(),
            selectors: personal(Selectors::of(request.selectors())),
            spiffe_id: personal(allowed.spiffe_id().clone()),
            tbs_sha256: Digest::new(sha256_of(&to_sign)),
        };
        Ok(Draft { to_sign, event: event.into() })
    }

    fn sign(&self, signing: &Signing, id: [u8; 16], draft: &[u8]) -> Result<Certificate, IssueError> {
        let signature = signing.x509_key.sign(draft).map_err(AuthorityError::from)?;
        let der = assemble_certificate(draft, signing.x509_key.algorithm(), &signature).map_err(form)?;
        Ok(Certificate { der, serial: hex::encode(id) })
    }
}

fn form(error: ProfileError) -> IssueError {
    IssueError::Form(error.to_string())
}
