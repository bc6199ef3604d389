use std::collections::BTreeMap;

use sekisho_identity::parse_bundle;
use sekisho_jose::{Rules, TokenKey, claims_unverified, verify_jwt_svid};
use sekisho_types::{TrustDomain, UnixTime};

use super::{folder, json};

#[test]
fn jwt_attacks_are_refused_as_specified() {
    let Some(folder) = folder("tokens/jwt") else { return };
    let corpus = json(&folder.join("jwt_attacks.json"));
    let trust_domain = TrustDomain::parse(corpus["trust_domain"].as_str().unwrap()).unwrap();
    let bundle = parse_bundle(&trust_domain, corpus["bundle"].to_string().as_bytes()).unwrap();
    let keys: Vec<TokenKey> = bundle
        .jwt_authorities
        .iter()
        .map(|key| TokenKey { key_id: key.key_id.clone(), public_key: key.public_key.clone() })
        .collect();
    let revoked = corpus["revoked_jti"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let rules = Rules {
        only_audience: true,
        issuer: corpus["expected_issuer"].as_str(),
        revoked_token_ids: &revoked,
        audience: corpus["expected_audience"].as_str().unwrap(),
        now: UnixTime::from_seconds(corpus["now"].as_i64().unwrap()),
        leeway_seconds: corpus["leeway_s"].as_i64().unwrap(),
        max_life_seconds: corpus["max_lifetime_s"].as_i64().unwrap(),
    };
    let mut wrong = BTreeMap::new();
    for case in corpus["cases"].as_array().unwrap() {
        let token = case["token"].as_str().unwrap();
        // The keys of a trust domain vouch for that trust domain's subjects only.
        let ours = claims_unverified(token).is_ok_and(|id| id.unverified().is_member_of(&trust_domain));
        let verdict = verify_jwt_svid(token, if ours { &keys } else { &[] }, &rules);
        let expected = case["expect"].as_str().unwrap();
        if expected != "either" && verdict.is_ok() != (expected == "accept") {
            wrong.insert(case["id"].as_str().unwrap(), format!("{expected}: {} {verdict:?}", case["reason"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
