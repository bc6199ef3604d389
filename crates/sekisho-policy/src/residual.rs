//! Partial evaluation of a policy set, as a request of OPA's Compile API asks for it.

use sekisho_rego::partial::{Options, Residual, Unknown};
use sekisho_rego::value::Value;
use sekisho_rego::{Limits, syntax};
use sekisho_types::{SpiffeId, UnixTime};

use crate::context;
use crate::load::PolicySet;
use crate::schema::{self, Place};

/// Steps of one partial evaluation: about half a second.
const MAX_STEPS: u64 = 5_000_000;
/// The most bodies of a query, or of a document.
const MAX_BODIES: usize = 50_000;
/// The most terms of a residual.
const MAX_TERMS: u64 = 500_000;

/// A request of OPA's Compile API: a query, and what is known.
#[derive(Debug, Clone)]
pub struct CompileRequest {
    query: String,
    input: Option<Value>,
    unknowns: Vec<Unknown>,
    not_inlined: Vec<Vec<Value>>,
    /// Whether calls like `time.now_ns()` are evaluated now.
    now_is_known: bool,
}

/// Why a request has no residual. The caller is at fault in each case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileFault {
    /// The request is not one of the API.
    #[error("{0}")]
    Request(String),
    /// The query does not fit the policy.
    #[error("{0}")]
    Query(String),
    /// A bound was reached.
    #[error("{0}; make more of the input known, or ask a narrower query")]
    Bound(String),
}

impl CompileFault {
    /// OPA's code of the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Query(_) => "invalid_parameter",
            Self::Bound(_) => "evaluation_error",
        }
    }
}

fn wrong(text: impl Into<String>) -> CompileFault {
    CompileFault::Request(text.into())
}

/// Where an input holds who calls, and who is called. The rest is of the request.
const IDENTITIES: [&[&str]; 2] = [&["destination"], &["subject", "spiffe_id"]];

/// Every part of the input but the identities.
fn of_request(place: &'static Place, path: &mut Vec<&'static str>, found: &mut Vec<Unknown>) {
    match place {
        Place::Members(members) => members.iter().for_each(|(name, place)| {
            path.push(name);
            of_request(place, path, found);
            path.pop();
        }),
        _ if IDENTITIES.contains(&path.as_slice()) => {}
        _ => found.push(Unknown::of_input(path)),
    }
}

impl CompileRequest {
    /// Whether a request is allowed of which only caller and called are known.
    pub(crate) fn between(subject: &SpiffeId, destination: &SpiffeId) -> Self {
        let text = |id: &SpiffeId| Value::from(id.as_str());
        let subject = Value::Object([(Value::from("spiffe_id"), text(subject))].into_iter().collect());
        let members = [("subject", subject), ("destination", text(destination))];
        let mut unknowns = Vec::new();
        of_request(&schema::INPUT, &mut Vec::new(), &mut unknowns);
        Self {
            query: "data.workload.authz.allow == true".to_owned(),
            input: Some(Value::Object(members.into_iter().map(|(name, value)| (Value::from(name), value)).collect())),
            unknowns,
            not_inlined: Vec::new(),
            now_is_known: false,
        }
    }

    /// Reads the JSON of a request: `query`, `input`, `unknowns` (default: `input`), `options.disableInlining`,
    /// `options.nondeterministicBuiltins`.
    ///
    /// # Errors
    /// Where it is none; a member that is not known is refused by its name.
    pub fn read(text: &str) -> Result<Self, CompileFault> {
        let body = Value::from_json(text).map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
        let Some(members) = body.as_object() else { return Err(wrong("the body is not a JSON object")) };
        let mut request = Self {
            query: String::new(),
            input: None,
            unknowns: vec![Unknown::input()],
            not_inlined: Vec::new(),
            now_is_known: false,
        };
        for (name, value) in members.iter() {
            match name.as_str().unwrap_or_default() {
                "query" => request.query = text_of(value, "query")?.to_owned(),
                "input" => request.input = Some(value.clone()),
                "unknowns" => request.unknowns = parts(value, "unknowns")?,
                "options" => request.options(value)?,
                name => return Err(wrong(format!("`{name}` is not a member of the request; remove it"))),
            }
        }
        if request.query.is_empty() {
            return Err(wrong("missing required 'query' value"));
        }
        Ok(request)
    }

    fn options(&mut self, options: &Value) -> Result<(), CompileFault> {
        let Some(options) = options.as_object() else { return Err(wrong("`options` is not an object")) };
        for (name, value) in options.iter() {
            match name.as_str().unwrap_or_default() {
                "disableInlining" => {
                    for part in parts(value, "options.disableInlining")? {
                        let path = part.below_data().ok_or_else(|| {
                            wrong("`options.disableInlining` names documents of data, such as `data.workload.authz`")
                        })?;
                        self.not_inlined.push(path.to_vec());
                    }
                }
                "nondeterministicBuiltins" => {
                    self.now_is_known =
                        value.as_bool().ok_or_else(|| wrong("`options.nondeterministicBuiltins` is not a boolean"))?;
                }
                name => return Err(wrong(format!("`options.{name}` is not supported; remove it"))),
            }
        }
        Ok(())
    }
}

fn text_of<'v>(value: &'v Value, name: &str) -> Result<&'v str, CompileFault> {
    value.as_str().ok_or_else(|| wrong(format!("`{name}` is not a text")))
}

fn parts(value: &Value, name: &str) -> Result<Vec<Unknown>, CompileFault> {
    let Some(items) = value.as_array() else { return Err(wrong(format!("`{name}` is not a list of texts"))) };
    items.iter().map(|item| Unknown::parse(text_of(item, name)?).map_err(wrong)).collect()
}

impl PolicySet {
    /// What remains of a query where parts of the input are unknown. Errors are as strict as in decisions: what can
    /// fail stays (law L3).
    ///
    /// # Errors
    /// Where the query does not fit the policy, or a bound is reached.
    pub fn residual(&self, request: &CompileRequest, now: UnixTime) -> Result<Residual, CompileFault> {
        self.residual_where(request, now, true)
    }

    /// The same; without `strict`, what fails is undefined, so that less stays for the sake of its errors.
    pub(crate) fn residual_where(
        &self,
        request: &CompileRequest,
        now: UnixTime,
        strict: bool,
    ) -> Result<Residual, CompileFault> {
        // A `not` is read as in the policy's own files (decisions/0054).
        let options = syntax::Options { whole_negation: true, ..syntax::Options::default() };
        let query = self.policy.query_in(&request.query, options, &[], &[]);
        let query = query.map_err(|error| CompileFault::Query(error.to_string()))?;
        let options = Options {
            unknowns: request.unknowns.clone(),
            not_inlined: request.not_inlined.clone(),
            now: request.now_is_known.then(|| now.nanos()),
            limits: Limits { steps: MAX_STEPS, strict, exhaustive: strict, ..context::limits(None) },
            most_bodies: MAX_BODIES,
            largest: MAX_TERMS,
            ..Options::default()
        };
        let data = Value::empty_object();
        query.partial(&data, request.input.as_ref(), &options).map_err(|error| CompileFault::Bound(error.to_string()))
    }

    /// The residual as JSON: the `result` of OPA's Compile API.
    ///
    /// # Errors
    /// As [`PolicySet::residual`]; and where the JSON would be too large.
    pub fn compile(&self, request: &CompileRequest, now: UnixTime) -> Result<String, CompileFault> {
        let residual = self.residual(request, now)?;
        let result = residual.to_opa(self.policy.modules()).map_err(CompileFault::Bound)?;
        Ok(result.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    const POLICY: &str = "package workload.authz\n\ndefault allow := false\n\nallow if {\n\tinput.method == \"GET\"\n\t\
                          input.subject.spiffe_id == \"spiffe://a.test/web\"\n}\n";

    fn set() -> PolicySet {
        PolicySet::load(vec![Source { name: "authz.rego".into(), text: POLICY.into() }]).unwrap()
    }

    fn residual(request: &str) -> Result<Vec<String>, CompileFault> {
        set().residual(&CompileRequest::read(request)?, UnixTime::from_seconds(0)).map(|residual| residual.queries())
    }

    #[test]
    fn known_parts_of_the_input_go() {
        let found = residual(
            r#"{"query":"data.workload.authz.allow == true","unknowns":["input.subject"],"input":{"method":"GET"}}"#,
        );
        assert_eq!(found, Ok(vec!["input.subject.spiffe_id = \"spiffe://a.test/web\"".to_owned()]));
        let found = residual(
            r#"{"query":"data.workload.authz.allow == true","unknowns":["input.subject"],"input":{"method":"PUT"}}"#,
        );
        assert_eq!(found, Ok(Vec::new()));
    }

    /// The blocks of Rego in the section of the documentation.
    fn documented() -> Vec<String> {
        let text = include_str!("../../../docs/policy.md");
        let section = text.split("## Partial evaluation").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        let block = |part: &str| part.split("```").next().map(str::to_owned);
        section.split("```rego\n").skip(1).filter_map(block).collect()
    }

    #[test]
    fn documented_residual_is_what_comes_out() {
        let [policy, query, support] = documented().try_into().unwrap();
        let set = PolicySet::load(vec![Source { name: "authz.rego".into(), text: policy }]).unwrap();
        let request = r#"{"query":"data.workload.authz.allow == true","input":{"method":"GET"},
            "unknowns":["input.subject","input.path"]}"#;
        let residual = set.residual(&CompileRequest::read(request).unwrap(), UnixTime::from_seconds(0)).unwrap();
        assert_eq!(residual.queries(), [query.trim_end()]);
        assert_eq!(residual.modules().into_iter().map(|(_, text)| text).collect::<Vec<_>>(), [support]);
    }

    #[test]
    fn wrong_requests_name_what_is_wrong() {
        let fault = |text: &str| residual(text).unwrap_err().to_string();
        assert_eq!(fault("{}"), "missing required 'query' value");
        assert_eq!(
            fault(r#"{"query":"true","options":{"maskRule":"x"}}"#),
            "`options.maskRule` is not supported; remove it"
        );
        assert!(fault(r#"{"query":"true","unknowns":["request"]}"#).contains("`request`"));
        assert!(fault(r#"{"query":"data.workload.authz.allow =="}"#).contains("query:1"));
        assert!(fault("[").contains("not JSON"));
    }
}
