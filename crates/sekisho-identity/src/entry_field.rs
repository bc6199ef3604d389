//! How a field of an entry is written into its record and read from it, by the type of the field.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use sekisho_types::{EntryId, Selector, SelectorSet, SpiffeId, TrustDomain, UnixTime};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) trait Field: Sized {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
    /// A value for tests and fuzzing; seeds that follow each other give different ones.
    fn sample(seed: u64) -> Option<Self>;
}

pub(crate) struct Written<'a, T>(pub &'a T);

impl<T: Field> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(to)
    }
}

pub(crate) struct Read<T>(pub T);

impl<'de, T: Field> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::read(from).map(Self)
    }
}

/// Values that JSON has.
macro_rules! plain {
    ($($form:ty: $sample:expr;)+) => {$(
        impl Field for $form {
            fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.serialize(to)
            }

            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::deserialize(from)
            }

            fn sample(seed: u64) -> Option<Self> {
                Some($sample(seed))
            }
        }
    )+};
}

plain! {
    bool: |seed: u64| seed % 2 == 1;
    u32: |seed: u64| u32::from(seed.to_le_bytes()[0]);
    i64: |seed: u64| i64::from(seed.to_le_bytes()[0]);
    String: |seed| format!("the \"main\" one\n{seed}");
    Vec<String>: |seed: u64| (0..seed % 4).map(|n| format!("{}.internal", (b'a' + n.to_le_bytes()[0]) as char)).rev().collect();
}

/// Words that have one text.
macro_rules! texts {
    ($($form:ty: $sample:expr;)+) => {$(
        impl Field for $form {
            fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }

            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(|text| Self::parse(text).ok(), PhantomData))
            }

            fn sample(seed: u64) -> Option<Self> {
                Self::parse(&$sample(seed)).ok()
            }
        }
    )+};
}

texts! {
    EntryId: |seed| format!("ent_{seed:024x}");
    SpiffeId: |seed| format!("spiffe://example.org/sample/{seed}");
    Selector: |seed| format!("unix:path:/srv/\n{seed}");
    TrustDomain: |seed| format!("other-{seed}.example");
}

/// Reads a text by this function, without a copy of it.
struct Text<T, P: Fn(&str) -> Option<T>>(P, PhantomData<T>);

impl<T, P: Fn(&str) -> Option<T>> Visitor<'_> for Text<T, P> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a word")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom("not the text of this word"))
    }
}

/// Ordered sets of such words.
macro_rules! sets {
    ($($form:ty: $of:ty;)+) => {$(
        impl Field for $form {
            fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(self.iter().map(Written))
            }

            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Vec::<Read<$of>>::deserialize(from)?.into_iter().map(|item| item.0).collect())
            }

            fn sample(seed: u64) -> Option<Self> {
                (0..=seed % 3).map(|n| <$of as Field>::sample(seed + n)).collect()
            }
        }
    )+};
}

sets! {
    SelectorSet: Selector;
    BTreeSet<TrustDomain>: TrustDomain;
}

/// To the nanosecond.
impl Field for UnixTime {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(self.nanos())
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        i64::deserialize(from).map(Self::from_nanos)
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(Self::from_nanos(1_800_000_000_123_456_789 + i64::from(seed.to_le_bytes()[0])))
    }
}

/// An end, in whole seconds.
impl Field for Option<UnixTime> {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.map(UnixTime::seconds).serialize(to)
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(UnixTime::from_seconds))
    }

    fn sample(seed: u64) -> Option<Self> {
        Some((seed % 2 == 1).then(|| UnixTime::from_seconds(1_900_000_000 + i64::from(seed.to_le_bytes()[0]))))
    }
}
