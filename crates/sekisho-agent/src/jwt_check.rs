//! A JWT-SVID as a workload has it checked: signature, times, audience, and revocation (laws L3 and L12).

use std::collections::BTreeSet;

use sekisho_identity::{ISSUANCE_CLAIM, IssuedSvid, Revocations, issuance_from_claim};
use sekisho_jose::{JwtError, JwtSvid, Rules, TokenKey, claims_unverified, verify_jwt_svid};
use sekisho_runtime::now;
use sekisho_types::UnixTime;

use crate::core::Core;
use crate::refusal::Refusal;
use crate::revocations;

fn refused(reason: impl Into<String>) -> Refusal {
    Refusal::Token(reason.into())
}

pub(crate) async fn check(core: &Core, shown: &str, audience: &str) -> Result<JwtSvid, Refusal> {
    let invalid = |e: JwtError| refused(e.to_string());
    let claimed = claims_unverified(shown).map_err(invalid)?;
    let bundle = core.server_state.bundle();
    if !claimed.unverified().is_member_of(&bundle.trust_domain) {
        return Err(refused("no bundle is held for the token's trust domain"));
    }
    let key = |key: &sekisho_identity::JwtAuthority| TokenKey {
        key_id: key.key_id.clone(),
        public_key: key.public_key.clone(),
    };
    let keys: Vec<TokenKey> = bundle.jwt_authorities.iter().map(key).collect();
    let rules = Rules {
        audience,
        only_audience: false,
        issuer: None,
        revoked_token_ids: &BTreeSet::new(),
        now: now(),
        leeway_seconds: 10,
        max_life_seconds: 300,
    };
    let svid = verify_jwt_svid(shown, &keys, &rules).map_err(invalid)?.into_inner();
    let in_force = revocations::in_force(core).await.ok_or(Refusal::RevocationsUnknown)?;
    not_revoked(&svid, &in_force)?;
    Ok(svid)
}

/// Refuses a token that a revocation concerns. One without `iat` counts as issued before every revocation.
fn not_revoked(svid: &JwtSvid, in_force: &Revocations) -> Result<(), Refusal> {
    let unreadable = || refused(format!("the claim `{ISSUANCE_CLAIM}` is not of the form that this version reads"));
    let issuance = svid.claims.get(ISSUANCE_CLAIM);
    let issuance = issuance.map(|claim| issuance_from_claim(claim).ok_or_else(unreadable)).transpose()?;
    let issued = IssuedSvid {
        spiffe_id: &svid.subject,
        issued_at: svid.issued_at.unwrap_or(UnixTime::from_seconds(0)),
        serial: svid.claims.get("jti").and_then(|id| id.as_str()).unwrap_or_default(),
        issuance: issuance.as_ref(),
    };
    match in_force.find(issued) {
        Some(revocation) => Err(refused(format!("the token is revoked: {revocation}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sekisho_identity::{AgentKey, Issuance, Revocation, Revoked, issuance_to_claim};
    use sekisho_types::{EntryId, Revision, SpiffeId};

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn id(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
    }

    /// A token of entry `ent_1`, issued by the state of revision 6.
    fn token() -> JwtSvid {
        let issuance = Issuance {
            revision: Revision(6),
            entry: Some(EntryId::parse("ent_1").unwrap()),
            agent: Some(AgentKey::of(&id("/spire/agent/one"))),
            required: None,
        };
        let claims = [(ISSUANCE_CLAIM.to_owned(), issuance_to_claim(&issuance)), ("jti".to_owned(), "0a".into())];
        let claims = claims.into_iter().collect();
        JwtSvid { subject: id("/a"), expires_at: NOW.plus_seconds(300), issued_at: Some(NOW), claims }
    }

    fn revoked(what: Revoked, revision: u64) -> Revocations {
        let (at, until) = (NOW.plus_seconds(5), NOW.plus_seconds(900));
        let mut all = Revocations::default();
        all.add(Revocation { what, revision: Revision(revision), at, until, reason: "was deleted".into() });
        all
    }

    #[test]
    fn law_l12_a_token_is_revoked_by_each_target() {
        let entry = |name: &str| Revoked::Entry { id: EntryId::parse(name).unwrap(), spiffe_id: id("/a") };
        for what in [
            entry("ent_1"),
            Revoked::Agent(id("/spire/agent/one")),
            Revoked::SpiffeId(id("/a")),
            Revoked::Serial("0a".into()),
        ] {
            let refused = not_revoked(&token(), &revoked(what.clone(), 7)).unwrap_err();
            assert!(refused.to_string().starts_with("the token is revoked: "), "{what:?}: {refused}");
            assert!(not_revoked(&token(), &revoked(what.clone(), 6)).is_ok(), "{what:?}: issued after it");
        }
        for what in [entry("ent_2"), Revoked::Agent(id("/spire/agent/two")), Revoked::SpiffeId(id("/b"))] {
            assert!(not_revoked(&token(), &revoked(what.clone(), 7)).is_ok(), "{what:?}");
        }
    }

    #[test]
    fn law_l3_a_foreign_token_is_judged_by_its_iat() {
        let mut bare = token();
        bare.claims.remove(ISSUANCE_CLAIM);
        for what in [Revoked::SpiffeId(id("/a")), Revoked::Agent(id("/spire/agent/any"))] {
            assert!(not_revoked(&bare, &revoked(what.clone(), 7)).is_err());
            let later = JwtSvid { issued_at: Some(NOW.plus_seconds(6)), ..bare.clone() };
            assert!(not_revoked(&later, &revoked(what.clone(), 7)).is_ok());
            assert!(not_revoked(&JwtSvid { issued_at: None, ..later }, &revoked(what, 7)).is_err());
        }
        let mut unreadable = token();
        unreadable.claims.insert(ISSUANCE_CLAIM.into(), "ent_1".into());
        assert!(not_revoked(&unreadable, &Revocations::default()).is_err());
    }
}
