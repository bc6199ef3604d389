use sekisho_identity::{Bundle, parse_bundle, parse_bundle_map};
use sekisho_types::TrustDomain;

use super::{folder, json};

#[test]
fn bundles_are_read_as_the_manifest_says() {
    let Some(folder) = folder("tokens/bundles") else { return };
    let manifest = json(&folder.join("MANIFEST.json"));
    let trust_domain = TrustDomain::parse(manifest["trust_domain"].as_str().unwrap()).unwrap();
    let mut wrong = vec![];
    for case in manifest["files"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let text = std::fs::read(folder.join(file)).unwrap();
        let got = match case["parse"].as_str().unwrap() {
            map @ ("ok-map" | "error-map") => {
                (parse_bundle_map(&text).is_ok() != (map == "ok-map")).then(|| "map".to_owned())
            }
            "error" => parse_bundle(&trust_domain, &text).ok().map(|_| "read, should be refused".to_owned()),
            _ => counts(&trust_domain, &text, case),
        };
        wrong.extend(got.map(|got| format!("{file}: {got} ({})", case["why"])));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn counts(trust_domain: &TrustDomain, text: &[u8], case: &serde_json::Value) -> Option<String> {
    let bundle = match parse_bundle(trust_domain, text) {
        Ok(bundle) => bundle,
        Err(error) => return Some(error.to_string()),
    };
    let found = (bundle.x509_authorities.len(), bundle.jwt_authorities.len(), bundle.wit_authorities.len());
    let number = |name: &str| case[name].as_u64().unwrap() as usize;
    let wanted = (number("x509"), number("jwt"), number("wit"));
    (found != wanted).then(|| format!("{found:?} usable keys, {wanted:?} expected"))
}

#[test]
fn an_older_or_conflicting_bundle_is_refused() {
    let Some(folder) = folder("tokens/bundles") else { return };
    let manifest = json(&folder.join("MANIFEST.json"));
    let trust_domain = TrustDomain::parse(manifest["trust_domain"].as_str().unwrap()).unwrap();
    let mut held = Bundle::empty(trust_domain.clone());
    for step in manifest["rollback_series"].as_array().unwrap() {
        let Ok(text) = std::fs::read(folder.join(step["serve"].as_str().unwrap())) else { continue };
        let taken = match parse_bundle(&trust_domain, &text) {
            Ok(offered) => held.replace_with(offered).is_ok(),
            Err(_) => false,
        };
        assert_eq!(taken, step["then"].as_str().unwrap().starts_with("accept"), "{step}");
    }
}
