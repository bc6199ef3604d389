//! Claims in an X.509-SVID: a non-critical extension that ordinary verifiers pass over.
//!
//! ```text
//! SekishoClaims ::= SEQUENCE { version INTEGER (1), claims SEQUENCE OF SEQUENCE {
//!     name UTF8String, value CHOICE { BOOLEAN, INTEGER, UTF8String, SEQUENCE OF UTF8String } } }
//! ```
//! Names ascend. A reader refuses a version, a type or an order that it does not know (law L3).

use sekisho_types::{ClaimValue, Claims};
use x509_parser::asn1_rs::{Any, FromDer, Sequence, Tag};

use crate::der::{self, Der};

/// The extension's object identifier, below ITU-T's example arc until an arc of our own is assigned; each
/// part fits 28 bits, since Go's parser refuses certificates with larger ones (`docs/decisions/0004`).
pub const CLAIMS_OID: [u32; 4] = [2, 999, 7355, 1];
const VERSION: i64 = 1;
const MAX_CLAIMS: usize = 64;
const MAX_TEXTS: usize = 16;

/// Whether these are the content bytes of our identifier. Bytes are compared, since not every parser reads arcs of
/// 2.48 and above right.
pub(crate) fn is_ours(oid: &[u8]) -> bool {
    der::written(|der| der.oid(&CLAIMS_OID)).get(2..) == Some(oid)
}

pub(crate) fn write(claims: &Claims, der: &mut Der) {
    let claim = |der: &mut Der, name: &str, value: &ClaimValue| {
        der.sequence(|der| {
            der.tlv(der::UTF8_STRING, name.as_bytes());
            match value {
                ClaimValue::Bool(flag) => der.boolean(*flag),
                ClaimValue::Integer(number) => der.integer(*number),
                ClaimValue::Text(text) => der.tlv(der::UTF8_STRING, text.as_bytes()),
                ClaimValue::List(texts) => der.sequence(|der| {
                    texts.iter().for_each(|text| der.tlv(der::UTF8_STRING, text.as_bytes()));
                }),
            }
        });
    };
    der.sequence(|der| {
        der.integer(VERSION);
        der.sequence(|der| claims.iter().for_each(|(name, value)| claim(der, name, value)));
    });
}

/// Reads the extension's value, or `None` when any of it is not as written above.
pub(crate) fn decode(bytes: &[u8]) -> Option<Claims> {
    let (rest, outer) = Sequence::from_der(bytes).ok()?;
    let (inner, version) = i64::from_der(&outer.content).ok()?;
    let (tail, list) = Sequence::from_der(inner).ok()?;
    if !rest.is_empty() || !tail.is_empty() || version != VERSION {
        return None;
    }
    let mut claims = Claims::default();
    let mut left: &[u8] = &list.content;
    let mut previous: Option<String> = None;
    while !left.is_empty() {
        let (after, item) = Sequence::from_der(left).ok()?;
        let (value, name) = String::from_der(&item.content).ok()?;
        let (end, value) = Any::from_der(value).ok()?;
        if !end.is_empty() || previous.as_ref().is_some_and(|p| *p >= name) || claims.len() >= MAX_CLAIMS {
            return None;
        }
        claims.set(&name, claim_value(value)?);
        previous = Some(name);
        left = after;
    }
    Some(claims)
}

fn claim_value(value: Any<'_>) -> Option<ClaimValue> {
    match value.tag() {
        Tag::Boolean => value.bool().ok().map(ClaimValue::Bool),
        Tag::Integer => value.i64().ok().map(ClaimValue::Integer),
        Tag::Utf8String => value.utf8string().ok().map(|text| ClaimValue::Text(text.string())),
        Tag::Sequence => texts(value.data).map(ClaimValue::List),
        _ => None,
    }
}

fn texts(mut left: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while !left.is_empty() {
        let (after, text) = String::from_der(left).ok().filter(|_| texts.len() < MAX_TEXTS)?;
        texts.push(text);
        left = after;
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_survive_and_other_bytes_do_not() {
        let mut claims = Claims::default();
        claims.set("hw_attested", ClaimValue::Bool(false));
        claims.set("hw_attested_by", ClaimValue::List(vec!["tpm".into(), "snp".into()]));
        claims.set("level", ClaimValue::Integer(-300));
        claims.set("region", ClaimValue::Text("東京".into()));
        let bytes = der::written(|der| write(&claims, der));
        assert_eq!(decode(&bytes), Some(claims));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode(&longer), None);
    }
}
