//! Claims that follow from selectors, by the table of their class.

use sekisho_types::{ClaimValue, Claims, Selector, SelectorSet};

use crate::{Class, EvidenceError};

/// The claims that follow from selectors of this class. What has a claim has one value: a process has one executable
/// and one unit.
pub(crate) fn derived(class: &Class, selectors: &SelectorSet) -> Result<Claims, EvidenceError> {
    let mut claims = Claims::default();
    for (name, claim) in class.claims {
        let value =
            |s: &Selector| s.value().strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).map(str::to_owned);
        let mut values = selectors.iter().filter_map(value);
        if let Some(value) = values.next() {
            claims.set(claim, ClaimValue::Text(value));
        }
        match (values.next(), *name) {
            (None, _) => {}
            (Some(_), "sha256") => return Err(EvidenceError::TwoDigests),
            (Some(_), name) => return Err(EvidenceError::TwoValues(name)),
        }
    }
    Ok(claims)
}
