//! A trust domain as operators write it.

use sekisho_types::TrustDomain;

/// Reads `--trust-domain`: the name alone. The message says what to write where that can be known.
pub fn parse_trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| match meant(text) {
        Some(name) => format!("{error}; write `{name}`"),
        None => error.to_string(),
    })
}

/// The trust domain of a SPIFFE ID, or the name in lower case.
fn meant(text: &str) -> Option<TrustDomain> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    TrustDomain::parse(&rest.split('/').next()?.to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_corrected() {
        let message = |text: &str| parse_trust_domain(text).unwrap_err();
        for (text, write) in [("spiffe://x", "`x`"), ("spiffe://x/shop", "`x`"), ("Prod.Internal", "`prod.internal`")] {
            assert!(message(text).ends_with(&format!("; write {write}")), "{}", message(text));
        }
        assert!(!message("a b").contains("; write"), "{}", message("a b"));
        assert_eq!(parse_trust_domain("prod.internal").unwrap().as_str(), "prod.internal");
    }
}
