//! Words that leaves use, each with one text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sekisho_identity::{Entry, Slot, entry_from_record, entry_record, selectors_from_record, selectors_record};
use sekisho_types::{Digest, EntryId, EvidenceClass, HexDigits, Selector, SelectorSet, SpiffeId};

use crate::member::Word;

/// An id: a prefix and so many bytes in hexadecimal digits.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $prefix:literal, $bytes:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub const fn bytes(self) -> [u8; $bytes] {
                self.0
            }

            /// `None` unless `text` is the one text of an id.
            pub fn parse(text: &str) -> Option<Self> {
                let (digits, mut bytes) = (text.strip_prefix($prefix)?, [0; $bytes]);
                hex::decode_to_slice(digits, &mut bytes).ok()?;
                (HexDigits::of(&bytes).as_str() == digits).then_some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(HexDigits::of(&self.0).as_str())
            }
        }

        impl Word for $name {
            const FORM: &'static str = concat!("`", $prefix, "…`");

            fn text(&self) -> Cow<'_, str> {
                self.to_string().into()
            }

            fn parse(text: &str) -> Option<Self> {
                Self::parse(text)
            }

            fn sample(seed: u64) -> Option<Self> {
                let mut bytes = [0; $bytes];
                bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(byte, seed)| *byte = seed);
                Some(Self(bytes))
            }
        }
    )+};
}

ids! {
    /// Begins with 48 bits of Unix milliseconds, by which the leaf is found.
    AttestationId: "att_", 16;
    /// Of what operators are alerted to; begins with 48 bits of Unix milliseconds.
    AlertId: "alr_", 16;
    /// Begins with 48 bits of Unix milliseconds; the rest with them is an X.509-SVID's serial number.
    IssuanceId: "iss_", 16;
    /// Of a decision in a sidecar; begins with 48 bits of Unix milliseconds.
    DecisionId: "dec_", 16;
    /// Of a refusal; begins with 48 bits of Unix milliseconds.
    RefusalId: "ref_", 16;
    /// The beginning of a join token's hash.
    TokenId: "tok_", 8;
}

/// The issuances of one answer, by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuanceIds(pub Vec<IssuanceId>);

impl Word for IssuanceIds {
    const FORM: &'static str = "`iss_…`, by spaces";

    fn text(&self) -> Cow<'_, str> {
        let ids: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        ids.join(" ").into()
    }

    fn parse(text: &str) -> Option<Self> {
        text.split(' ').map(IssuanceId::parse).collect::<Option<_>>().map(Self)
    }

    fn sample(seed: u64) -> Option<Self> {
        (seed..=seed.saturating_add(seed % 3)).map(Word::sample).collect::<Option<_>>().map(Self)
    }
}

/// Since when records of a node are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostSince {
    LastHeard,
    /// Its spool was not heard of before; an earlier agent of that host may have sent them.
    Unknown,
}

impl LostSince {
    const ALL: [(Self, &'static str); 2] =
        [(Self::LastHeard, "records"), (Self::Unknown, "records before the first heard of")];
}

/// What is one of a few texts.
macro_rules! choice {
    ($type:ty, $form:literal, $all:expr) => {
        impl Word for $type {
            const FORM: &'static str = $form;

            fn text(&self) -> Cow<'_, str> {
                $all.iter().find(|(one, _)| one == self).map_or("", |(_, text)| *text).into()
            }

            fn parse(text: &str) -> Option<Self> {
                $all.iter().find(|(_, known)| *known == text).map(|(one, _)| *one)
            }

            fn sample(seed: u64) -> Option<Self> {
                let at = usize::from(seed.to_le_bytes()[0]) % $all.len();
                $all.get(at).map(|(one, _)| *one)
            }
        }
    };
}

choice!(LostSince, "`records` or `records before the first heard of`", LostSince::ALL);
choice!(Slot, "`prepared`, `active` or `old`", SLOTS);
choice!(EvidenceClass, "`node` or `process`", EVIDENCE);

const SLOTS: [(Slot, &str); 3] = [(Slot::Prepared, "prepared"), (Slot::Active, "active"), (Slot::Old, "old")];
const EVIDENCE: [(EvidenceClass, &str); 2] =
    [(EvidenceClass::Node, EvidenceClass::Node.as_str()), (EvidenceClass::Process, EvidenceClass::Process.as_str())];

/// Selectors, in the text that the log commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors(String);

impl Selectors {
    pub fn of<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Self {
        Self(selectors_record(selectors))
    }

    /// `None` if one of them is not a selector that we know how to read.
    pub fn read(&self) -> Option<SelectorSet> {
        selectors_from_record(&self.0)
    }
}

impl Word for Selectors {
    const FORM: &'static str = "JSON array of texts";

    fn text(&self) -> Cow<'_, str> {
        (&*self.0).into()
    }

    // Earlier releases joined them by newlines: there is more than one text for the same selectors.
    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn sample(seed: u64) -> Option<Self> {
        let selectors = [Selector::parse("unix:uid:0"), Selector::parse(&format!("unix:path:/srv/{seed}"))];
        let old = || Self("unix:uid:0\nunix:gid:7".to_owned());
        Some(if seed.is_multiple_of(5) { old() } else { Self::of(selectors.iter().flatten()) })
    }
}

impl Word for String {
    const FORM: &'static str = "text";

    fn text(&self) -> Cow<'_, str> {
        self.as_str().into()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn sample(seed: u64) -> Option<Self> {
        const TEXTS: [&str; 5] =
            ["", "uid:0", "a \"quoted\" \\ text\n\t\u{1}", "kühl 雪 𝄞", "spiffe://example.org/shop/ledger"];
        let at = usize::from(seed.to_le_bytes()[0]) % TEXTS.len();
        TEXTS.get(at).map(|text| (*text).to_owned())
    }
}

/// A word whose one text is what it displays as.
macro_rules! displayed {
    ($($type:ty, $form:literal, $parse:expr, $sample:expr;)+) => {$(
        impl Word for $type {
            const FORM: &'static str = $form;

            fn text(&self) -> Cow<'_, str> {
                self.to_string().into()
            }

            fn parse(text: &str) -> Option<Self> {
                let parsed: Option<Self> = $parse(text).ok();
                parsed.filter(|value| value.to_string() == text)
            }

            fn sample(seed: u64) -> Option<Self> {
                $sample(seed)
            }
        }
    )+};
}

displayed! {
    Digest, "SHA-256, 64 hexadecimal digits", Digest::parse, |seed: u64| {
        let mut bytes = [0xa5; 32];
        bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(byte, seed)| *byte = seed);
        Some(Digest::new(bytes))
    };
    SpiffeId, "SPIFFE ID", SpiffeId::parse, |seed| SpiffeId::parse(&format!("spiffe://example.org/sample/{seed}")).ok();
    Selector, "selector", Selector::parse, |seed| Selector::parse(&format!("unix:uid:{seed}")).ok();
    EntryId, "entry's id", EntryId::parse, |seed| EntryId::parse(&format!("ent_{seed:024x}")).ok();
}

impl Word for Arc<Entry> {
    const FORM: &'static str = "entry";

    fn text(&self) -> Cow<'_, str> {
        entry_record(self).into()
    }

    fn parse(text: &str) -> Option<Self> {
        entry_from_record(text).map(Self::new)
    }

    fn sample(seed: u64) -> Option<Self> {
        Entry::sample(seed).map(Self::new)
    }
}
