//! OPA's Compile API. The server reads and writes these forms as texts, so that numbers keep their digits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A query, and what is known of its input.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CompileForm {
    /// Rego, such as `data.workload.authz.allow == true`.
    pub query: String,
    /// The parts of the input that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The parts of the input that are not known, such as `input.subject`; all of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknowns: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<CompileOptionsForm>,
}

/// How a residual is made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CompileOptionsForm {
    /// Documents that are not put in place of what reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_inlining: Option<Vec<String>>,
    /// Whether `time.now_ns()` and the like are evaluated now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nondeterministic_builtins: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CompiledForm {
    pub result: ResidualForm,
}

/// What remains of a query, as OPA's JSON of Rego.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResidualForm {
    /// The query holds where one of these does. Absent: it never holds. An empty one: it always does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<Vec<Value>>,
    /// Modules that the queries refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<Vec<Value>>,
}
