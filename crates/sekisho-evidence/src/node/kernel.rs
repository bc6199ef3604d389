//! The state of a node's kernel, as its agent reports it while the node proves itself. No hardware vouches for it: an
//! agent that root has replaced reports what root likes. What a TPM measured is under the TPM's own name.

use std::collections::BTreeMap;

use sekisho_types::{EvidenceClass, Selector, SelectorSet};

use crate::class::Form::{Name, Text};
use crate::{Age, Class};

const MAX_VALUE: usize = 128;

pub static KERNEL: Class = Class {
    name: "kernel",
    about: EvidenceClass::Node,
    version: 1,
    age: Age::Lasting,
    is_hardware: false,
    selectors: &[
        ("release", Text),
        ("lockdown", Name),
        ("secure_boot", Name),
        ("module_signing", Name),
        ("tainted", Name),
        ("boot_id", Name),
        ("host_uuid", Name),
    ],
    claims: &[
        ("release", "kernel.release"),
        ("lockdown", "kernel.lockdown"),
        ("secure_boot", "kernel.secure_boot"),
        ("module_signing", "kernel.module_signing"),
        ("tainted", "kernel.tainted"),
    ],
};

/// Selectors of what a node reports; a name or a value that no kernel shows gives none.
pub(super) fn selectors(reported: &BTreeMap<String, String>) -> SelectorSet {
    let is_value = |value: &str| (1..=MAX_VALUE).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    let known = |name: &str| KERNEL.selectors.iter().any(|(known, _)| *known == name);
    let good = reported.iter().filter(|(name, value)| known(name) && is_value(value));
    good.filter_map(|(name, value)| Selector::new(KERNEL.name, &format!("{name}:{value}")).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kernel_shows_is_taken() {
        let reported = [
            ("lockdown", "integrity"),
            ("tainted", "0"),
            ("release", "6.1 0"),
            ("boot_id", ""),
            ("ek", "aa"),
            ("host_uuid", "\u{e9}"),
        ];
        let reported = reported.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let found: Vec<String> = selectors(&reported).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["kernel:lockdown:integrity", "kernel:tainted:0"]);
    }
}
