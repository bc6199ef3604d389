//! JWT-SVIDs, as a kind of what is issued.

use sekisho_events::{IssuanceId, JwtIssued, Selectors};
use sekisho_identity::{Allowed, ISSUANCE_CLAIM, issuance_to_claim};
use sekisho_jose::Mint;
use sekisho_ledger::sha256_of;
use sekisho_types::{Digest, Signer, SpiffeId, UnixTime};

use crate::authorities::{AuthorityError, Signing};
use crate::budget::Budgets;
use crate::issue::{Basis, Draft, IssueError, Issued, Kind};
use crate::journal::personal;

#[derive(Clone, Copy)]
pub(crate) struct Jwt;

/// A token.
pub(crate) type IssuedJwt = Issued<String>;

impl Kind for Jwt {
    type Identity = String;

    const BUDGET: fn(&Budgets, &SpiffeId, usize, UnixTime) -> bool = Budgets::token;

    fn draft(&self, allowed: &Allowed, basis: &Basis<'_>) -> Result<Draft, IssueError> {
        let Basis { signing, origin, requester, request, id } = basis;
        let audience = request.audience();
        let token_id = hex::encode(id);
        let mint = Mint {
            key_id: &signing.jwt_key_id,
            subject: allowed.spiffe_id(),
            audience,
            issued_at: allowed.not_before(),
            expires_at: allowed.not_after(),
            jti: Some(&token_id),
            own_claim: Some((ISSUANCE_CLAIM, issuance_to_claim(origin))),
        };
        let to_sign = sekisho_jose::signing_input(&mint).into_bytes();
        let event = JwtIssued {
            attestors: request.attestors(),
            audience: personal(audience.join(" ")),
            caller: personal(requester.name()),
            entry: allowed.entry_id().cloned(),
            evidence: allowed.evidence(),
            id: IssuanceId::new(*id),
            key_id: signing.jwt_key_id.clone(),
            not_after: allowed.not_after(),
            selectors: personal(Selectors::of(request.selectors())),
            spiffe_id: personal(allowed.spiffe_id().clone()),
            tbs_sha256: Digest::new(sha256_of(&to_sign)),
        };
        Ok(Draft { to_sign, event: event.into() })
    }

    fn sign(&self, signing: &Signing, _: [u8; 16], draft: &[u8]) -> Result<String, IssueError> {
        let signature = signing.jwt_key.sign(draft).map_err(AuthorityError::from)?;
        let token = std::str::from_utf8(draft).ok().and_then(|input| sekisho_jose::token(input, &signature));
        token.ok_or_else(|| IssueError::Form("the signature is not of P-256".into()))
    }
}
