//! The members of a record, each declared once: how it is written, read and described.
//!
//! They are declared in byte order, which is the order in which they are written: what is written is canonical.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use sekisho_types::{ClaimValue, Claims, Digest, EntryId, HexDigits, Selector, SpiffeId};
use serde::de::{Error, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::member::Word;
use crate::words::{DecisionId, RefusalId};

/// An object in a record, as the reference shows it.
pub(crate) struct ObjectForm {
    pub says: &'static str,
    pub members: &'static [(&'static str, &'static str)],
}

macro_rules! objects {
    ($(
        #[doc = $says:literal]
        $name:ident $(<$life:lifetime>)? {
            $($(#[$attribute:meta])* $member:ident: $type:ty = $form:literal,)*
        }
    )+) => {
        $(
            #[doc = $says]
            #[derive(Serialize, Deserialize)]
            pub(super) struct $name $(<$life>)? {
                $($(#[$attribute])* pub $member: $type,)*
            }
        )+

        /// Every object, in the order of this declaration.
        pub(super) const OBJECTS: &[ObjectForm] =
            &[$(ObjectForm { says: $says, members: &[$((stringify!($member), $form),)*] },)+];
    };
}

objects! {
    /// a decision (`kind` is `decision`)
    DecisionForm<'a> {
        #[serde(default, skip_serializing_if = "is_empty")]
        answers: Cow<'a, BTreeMap<String, String>> = "place → one character a question; absent if empty",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answers_to: Option<Cow<'a, str>> = "16 hexadecimal digits; absent without answers",
        at_ms: i64 = "Unix milliseconds",
        effect: Cow<'a, str> = "`allow` or `deny`",
        error: Option<Cow<'a, str>> = "text or null",
        facts: NoFacts = "an empty object",
        id: Text<DecisionId> = "`dec_…`",
        input: InputForm<'a> = "the request",
        kind: Cow<'a, str> = "`decision`",
        latency_us: u64 = "microseconds",
        now_ns: i64 = "Unix nanoseconds: the decision's clock",
        policy_digest: Option<Text<Digest>> = "SHA-256, 64 hexadecimal digits, or null without a policy",
        policy_revision: u64 = "number",
        rule: Option<RuleForm<'a>> = "the rule that allowed or came nearest, or null",
        span_id: HexId<8> = "16 hexadecimal digits (W3C Trace Context)",
        trace_id: HexId<16> = "32 hexadecimal digits (W3C Trace Context)",
    }
    /// peers that a sidecar refused for one reason (`kind` is `refusal`)
    PeerRefusedForm<'a> {
        at_ms: i64 = "Unix milliseconds",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64> = "number; absent in the first releases",
        id: Text<RefusalId> = "`ref_…`",
        input: DestinationForm = "whom the sidecar speaks for",
        kind: Cow<'a, str> = "`refusal`",
        peer: Cow<'a, str> = "the first of them: its SPIFFE ID or address",
        reason: Cow<'a, str> = "text",
        what: Cow<'a, str> = "what was refused, for example `request` or `handshake`",
    }
    /// a process for which an agent found no entry (`kind` is `refusal`)
    NoIdentityForm<'a> {
        at_ms: i64 = "Unix milliseconds",
        id: Text<RefusalId> = "`ref_…`",
        kind: Cow<'a, str> = "`refusal`",
        nearest: Option<NearestForm> = "the entry that came nearest, or null",
        pid: i32 = "number",
        selectors: Vec<Text<Selector>> = "what was found on the process",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32> = "number; absent in the first releases",
        what: Cow<'a, str> = "text",
    }
    /// a call that an agent refused (`kind` is `refusal`)
    CallRefusedForm<'a> {
        at_ms: i64 = "Unix milliseconds",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<Cow<'a, str>> = "the call's path; absent in the first releases",
        id: Text<RefusalId> = "`ref_…`",
        kind: Cow<'a, str> = "`refusal`",
        pid: i32 = "number",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32> = "number; absent in the first releases",
        what: Cow<'a, str> = "why",
    }
    /// `input` of a decision
    InputForm<'a> {
        destination: Text<SpiffeId> = "SPIFFE ID",
        headers: Cow<'a, BTreeMap<String, String>> = "name → value, masked or cut",
        method: Cow<'a, str> = "text",
        path: Cow<'a, [String]> = "segments, as they were sent",
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<Cow<'a, str>> = "masked; absent in the first releases",
        request_id: Cow<'a, str> = "text",
        subject: SubjectForm<'a> = "the peer",
    }
    /// `input` of a refusal
    DestinationForm {
        destination: Text<SpiffeId> = "SPIFFE ID",
    }
    /// `subject`
    SubjectForm<'a> {
        claims: ClaimsForm<'a> = "name → boolean, integer or text",
        issued_at: i64 = "Unix nanoseconds: notBefore of its SVID",
        spiffe_id: Text<SpiffeId> = "SPIFFE ID",
    }
    /// `rule`
    RuleForm<'a> {
        file: Cow<'a, str> = "text",
        line: u32 = "number",
        unknown: usize = "how many conditions cannot be explained",
        unmet: Vec<UnmetForm<'a>> = "conditions that did not hold",
    }
    /// a condition in `unmet`
    UnmetForm<'a> {
        condition: Cow<'a, str> = "as the policy has it",
        found: Option<Cow<'a, str>> = "what was found, as JSON, or null",
        line: u32 = "number",
    }
    /// `nearest`
    NearestForm {
        differences: Vec<DifferenceForm> = "selectors that were not found",
        entry: Text<EntryId> = "entry's id",
        spiffe_id: Text<SpiffeId> = "SPIFFE ID",
    }
    /// a selector in `differences`
    DifferenceForm {
        found: Vec<Text<Selector>> = "what was found of its property",
        wants: Text<Selector> = "what the entry asks for",
    }
}

fn is_empty(answers: &BTreeMap<String, String>) -> bool {
    answers.is_empty()
}

/// The place of facts that decisions will use.
#[derive(Serialize, Deserialize)]
pub(super) struct NoFacts {}

/// A word, by its one text.
pub(super) struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de, T: Word> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// Parses the text where it is.
        struct Parse<T>(PhantomData<T>);
        impl<T: Word> Visitor<'_> for Parse<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::FORM)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::parse(text).map(Text).ok_or_else(|| E::custom(format_args!("expected {}", T::FORM)))
            }
        }
        from.deserialize_str(Parse(PhantomData))
    }
}

/// Bytes in hexadecimal digits.
pub(super) struct HexId<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for HexId<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(HexDigits::of(&self.0).as_str())
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexId<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = hex::decode(&*Cow::<str>::deserialize(from)?).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| D::Error::custom(format_args!("expected {} hexadecimal digits", 2 * N)))
    }
}

/// The claims that a peer's SVID carries.
pub(super) struct ClaimsForm<'a>(pub Cow<'a, Claims>);

impl Serialize for ClaimsForm<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            match value {
                ClaimValue::Bool(flag) => map.serialize_entry(name, flag)?,
                ClaimValue::Integer(number) => map.serialize_entry(name, number)?,
                ClaimValue::Text(text) => map.serialize_entry(name, text)?,
                ClaimValue::List(texts) => map.serialize_entry(name, texts)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ClaimsForm<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Claim {
            Bool(bool),
            Integer(i64),
            Text(String),
            List(Vec<String>),
        }
        let mut claims = Claims::default();
        for (name, claim) in BTreeMap::<String, Claim>::deserialize(from)? {
            let claim = match claim {
                Claim::Bool(flag) => ClaimValue::Bool(flag),
                Claim::Integer(number) => ClaimValue::Integer(number),
                Claim::Text(text) => ClaimValue::Text(text),
                Claim::List(texts) => ClaimValue::List(texts),
            };
            claims.set(&name, claim);
        }
        Ok(Self(Cow::Owned(claims)))
    }
}
