//! Members of a leaf: how each form is written, read and named.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sekisho_types::UnixTime;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::commitment::Opening;
use crate::error::LeafError;

/// A value that has one text.
pub(crate) trait Word: Sized {
    const FORM: &'static str;

    fn text(&self) -> Cow<'_, str>;
    /// `None` unless `text` is the one text of a value.
    fn parse(text: &str) -> Option<Self>;
    fn sample(seed: u64) -> Option<Self>;
}

/// What a member of a leaf can be.
pub(crate) trait Member: Sized {
    const FORM: &'static str;
    const IS_PERSONAL: bool = false;
    const IS_OPTIONAL: bool = false;

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>);
    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError>;
    fn sample(seed: u64) -> Option<Self>;
}

pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Integer(number) => to.serialize_i64(*number),
        }
    }
}

/// Members of a usual leaf, at most.
const USUAL_MEMBERS: usize = 20;

/// A leaf being written: its members in any order, and what opens its commitments.
pub(crate) struct Writer<'a> {
    pub members: Vec<(&'static str, Value<'a>)>,
    pub openings: Vec<Opening>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new() -> Self {
        Self { members: Vec::with_capacity(USUAL_MEMBERS), openings: vec![] }
    }

    pub(crate) fn text(&mut self, name: &'static str, text: Cow<'a, str>) {
        self.members.push((name, Value::Text(text)));
    }

    pub(crate) fn integer(&mut self, name: &'static str, number: i64) {
        self.members.push((name, Value::Integer(number)));
    }
}

/// A leaf being read: what was not taken yet.
pub(crate) struct Reader {
    pub members: Map<String, Json>,
    pub openings: BTreeMap<String, Opening>,
}

impl Reader {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Takes a member if it has this text.
    pub(crate) fn takes(&mut self, name: &str, text: &str) -> bool {
        let same = self.members.get(name).and_then(Json::as_str) == Some(text);
        same && self.members.remove(name).is_some()
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, LeafError> {
        match self.members.remove(name) {
            Some(Json::String(text)) => Ok(text),
            _ => Err(LeafError::Field(name)),
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Result<i64, LeafError> {
        self.members.remove(name).and_then(|value| value.as_i64()).ok_or(LeafError::Field(name))
    }
}

impl<T: Word> Member for T {
    const FORM: &'static str = <T as Word>::FORM;

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        out.text(name, self.text());
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        T::parse(&from.text(name)?).ok_or(LeafError::Field(name))
    }

    fn sample(seed: u64) -> Option<Self> {
        <T as Word>::sample(seed)
    }
}

/// Absent in some leaves.
impl<M: Member> Member for Option<M> {
    const FORM: &'static str = M::FORM;
    const IS_PERSONAL: bool = M::IS_PERSONAL;
    const IS_OPTIONAL: bool = true;

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        if let Some(member) = self {
            member.write(name, out);
        }
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        if from.has(name) { M::read(name, from).map(Some) } else { Ok(None) }
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(if seed.is_multiple_of(3) { None } else { M::sample(seed) })
    }
}

/// A count. The log's integers are those of JSON's readers, below 2^63.
impl Member for u64 {
    const FORM: &'static str = "number";

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        out.integer(name, i64::try_from(*self).unwrap_or(i64::MAX));
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        Self::try_from(from.integer(name)?).map_err(|_| LeafError::Field(name))
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1)
    }
}

impl Member for i64 {
    const FORM: &'static str = "integer";

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        out.integer(name, *self);
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        from.integer(name)
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed())
    }
}

/// Whole seconds.
impl Member for UnixTime {
    const FORM: &'static str = "Unix seconds";

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        out.integer(name, self.seconds());
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        let seconds = from.integer(name)?;
        // Beyond the years that `UnixTime` holds there is not one text.
        Some(Self::from_seconds(seconds)).filter(|time| time.seconds() == seconds).ok_or(LeafError::Field(name))
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(Self::from_seconds(1_700_000_000 + (seed % 100_000).cast_signed()))
    }
}
