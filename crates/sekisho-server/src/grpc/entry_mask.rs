//! SPIRE's entry masks: one list of fields, in whichever direction they go.

use sekisho_proto::types::{Entry, EntryMask};

/// The fields that a mask can name; the id is none of them. A field of SPIRE's message that is missing here does not
/// compile.
macro_rules! fields {
    ($($field:ident),+ $(,)?) => {
        /// Every field.
        pub(super) const FULL: EntryMask = EntryMask { $($field: true),+ };

        /// `onto` with the fields that `mask` names taken from `from`.
        pub(super) fn merged(mut onto: Entry, from: &Entry, mask: &EntryMask) -> Entry {
            $(if mask.$field {
                onto.$field.clone_from(&from.$field);
            })+
            onto
        }
    };
}

fields! {
    spiffe_id, parent_id, selectors, x509_svid_ttl, federates_with, admin, downstream, expires_at, dns_names,
    revision_number, store_svid, jwt_svid_ttl, hint, created_at, additional_attributes,
}

/// What a client sees of an entry: all of it, if it names no mask.
pub(super) fn masked(entry: Entry, mask: Option<&EntryMask>) -> Entry {
    match mask {
        None => entry,
        Some(mask) => merged(Entry { id: entry.id.clone(), ..Entry::default() }, &entry, mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPIRE 1.14.3 (#6636): a flag that was copied into another.
    #[test]
    fn a_mask_takes_only_the_named_field() {
        type Flag = (fn(&mut EntryMask), fn(&Entry) -> bool);
        let flags: [Flag; 5] = [
            (|mask| mask.admin = true, |entry| entry.admin),
            (|mask| mask.downstream = true, |entry| entry.downstream),
            (|mask| mask.store_svid = true, |entry| entry.store_svid),
            (|mask| mask.x509_svid_ttl = true, |entry| entry.x509_svid_ttl == 7),
            (|mask| mask.jwt_svid_ttl = true, |entry| entry.jwt_svid_ttl == 8),
        ];
        let whole = Entry {
            id: "e".into(),
            admin: true,
            downstream: true,
            store_svid: true,
            x509_svid_ttl: 7,
            jwt_svid_ttl: 8,
            ..Entry::default()
        };
        for (at, (name, _)) in flags.iter().enumerate() {
            let mut mask = EntryMask::default();
            name(&mut mask);
            let seen = masked(whole.clone(), Some(&mask));
            let set: Vec<bool> = flags.iter().map(|(_, is_set)| is_set(&seen)).collect();
            assert!(set.iter().enumerate().all(|(other, set)| *set == (other == at)), "{at}: {set:?}");
            assert_eq!(seen.id, "e");
        }
        assert_eq!(merged(Entry::default(), &whole, &FULL), Entry { id: String::new(), ..whole });
    }

    /// What SPIRE's message does not know would be lost with each change by one of its clients.
    #[test]
    fn a_change_of_nothing_changes_nothing() {
        use sekisho_proto::{entry_from_wire, entry_to_wire};
        for seed in 0..40 {
            let known = sekisho_identity::Entry::sample(seed).unwrap();
            let wire = merged(entry_to_wire(&known), &Entry::default(), &EntryMask::default());
            assert_eq!(entry_from_wire(&wire, &known.id, Some(&known)).unwrap(), known);
        }
    }
}
