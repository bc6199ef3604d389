//! What operators are shown of a record that a node made. The record itself is bytes that are never written again.

use serde::{Deserialize, Serialize};

/// A decision of a sidecar, or a refusal of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    Decision(DecisionRecord),
    Refusal(RefusalRecord),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DecisionRecord {
    pub id: String,
    /// `allow` or `deny`.
    pub effect: String,
    pub input: RecordedInput,
    pub policy_revision: u64,
    pub rule: Option<Rule>,
    /// Why the policy failed, if it did.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordedInput {
    pub method: String,
    /// Its segments.
    pub path: Vec<String>,
    pub subject: RecordedSubject,
    pub destination: String,
}

impl RecordedInput {
    /// The path as a request has it.
    pub fn joined_path(&self) -> String {
        format!("/{}", self.path.join("/"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordedSubject {
    pub spiffe_id: String,
}

/// The rule that decided or, for a denial, came nearest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Rule {
    pub file: String,
    pub line: u32,
    pub unmet: Vec<Unmet>,
    /// How many of its conditions cannot be explained one by one.
    pub unknown: u64,
}

impl Rule {
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    pub line: u32,
    pub condition: String,
    pub found: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefusalRecord {
    pub id: String,
    pub what: String,
    pub pid: i32,
    /// The entry that came nearest, if the process was to get an identity.
    pub nearest: Option<NearestEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NearestEntry {
    pub entry: String,
    pub spiffe_id: String,
    pub differences: Vec<Difference>,
}

/// A selector that an entry asks for and a process does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub wants: String,
    pub found: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_either_kind_is_read() {
        let decision = r#"{"at_ms":5,"effect":"deny","error":null,"facts":{},"id":"dec_1","input":{"destination":"spiffe://td/b",
            "headers":{},"method":"GET","path":["v1","balance"],"query":"","request_id":"","subject":{"claims":{},"issued_at":1,
            "spiffe_id":"spiffe://td/a"}},"kind":"decision","latency_us":1,"now_ns":5,"policy_digest":null,"policy_revision":3,
            "rule":{"file":"a.rego","line":7,"unknown":0,"unmet":[{"condition":"c","found":null,"line":8}]},"span_id":"","trace_id":""}"#;
        let Record::Decision(read) = serde_json::from_str(decision).unwrap() else {
            panic!("a decision is a decision")
        };
        assert_eq!((read.input.joined_path().as_str(), read.policy_revision), ("/v1/balance", 3));
        let rule = read.rule.unwrap();
        assert_eq!((rule.place().as_str(), rule.unmet.len()), ("a.rego:7", 1));
        let refusal = r#"{"at_ms":5,"call":"/x","id":"ref_1","kind":"refusal","pid":4,"uid":0,"what":"no"}"#;
        let Record::Refusal(read) = serde_json::from_str(refusal).unwrap() else { panic!("a refusal is a refusal") };
        assert_eq!((read.pid, read.nearest), (4, None));
    }
}
