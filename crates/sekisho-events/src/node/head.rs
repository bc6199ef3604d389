//! What a server reads of each record that it takes: its id, its time, its class and whose it is. The rest is kept as
//! it is.

use sekisho_types::SpiffeId;
use serde::Deserialize;

use crate::node::class::RecordClass;
use crate::node::form::Text;
use crate::node::id::RecordId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead {
    pub id: RecordId,
    pub class: RecordClass,
    /// The workload that the record is about; an agent's own refusals are about none yet.
    pub destination: Option<SpiffeId>,
}

#[derive(Deserialize)]
struct HeadForm<'a> {
    id: &'a str,
    at_ms: i64,
    kind: &'a str,
    effect: Option<&'a str>,
    input: Option<InputForm>,
}

#[derive(Deserialize)]
struct InputForm {
    destination: Text<SpiffeId>,
}

impl RecordHead {
    /// `None` if the record is not of the form.
    pub fn read(record: &[u8]) -> Option<Self> {
        let head: HeadForm<'_> = serde_json::from_slice(record).ok()?;
        let class = match (head.kind, head.effect) {
            ("decision", Some("allow")) => RecordClass::Allow,
            ("decision", Some("deny")) => RecordClass::Deny,
            ("refusal", None) => RecordClass::Refusal,
            _ => return None,
        };
        // A node names its own records, and nothing that the server names; an id that lies about its time would not be
        // found.
        let id =
            RecordId::parse(head.id).filter(|id| id.at_ms() == head.at_ms && RecordId::of(class, id.key()) == *id)?;
        let destination = head.input.map(|input| input.destination.0);
        (destination.is_some() || class == RecordClass::Refusal).then_some(Self { id, class, destination })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_needs_kind_and_time() {
        let read = |id: &str, rest: &str| RecordHead::read(format!("{{\"id\":\"{id}\",{rest}}}").as_bytes());
        let (decision, refusal) = ("dec_00000000000500112233445566778899", "ref_00000000000500112233445566778899");
        let input = r#""input":{"destination":"spiffe://td/a"}"#;
        let head = read(decision, &format!(r#""at_ms":5,"kind":"decision","effect":"deny",{input}"#)).unwrap();
        assert_eq!(head.destination.unwrap().to_string(), "spiffe://td/a");
        assert_eq!((head.class, head.id.to_string().as_str()), (RecordClass::Deny, decision));
        assert!(read(refusal, r#""at_ms":5,"kind":"refusal""#).is_some());
        for (id, rest) in [
            (decision, &format!(r#""at_ms":6,"kind":"decision","effect":"deny",{input}"#)),
            (decision, &format!(r#""at_ms":5,"kind":"decision","effect":"maybe",{input}"#)),
            (decision, &r#""at_ms":5,"kind":"decision","effect":"deny""#.to_owned()),
            (decision, &r#""at_ms":5,"kind":"decision","effect":"deny","input":{"destination":"till"}"#.to_owned()),
            (decision, &r#""at_ms":5,"kind":"decision""#.to_owned()),
            (decision, &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            (refusal, &format!(r#""at_ms":5,"kind":"decision","effect":"deny",{input}"#)),
            ("att_00000000000500112233445566778899", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_0000000000050011223344556677889", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_+0000000000500112233445566778899", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
            ("ref_0000000000050011223344556677889A", &r#""at_ms":5,"kind":"refusal""#.to_owned()),
        ] {
            assert!(read(id, rest).is_none(), "{id} {rest}");
        }
    }
}
