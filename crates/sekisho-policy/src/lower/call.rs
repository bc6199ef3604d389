//! Calls of builtins. The engine's own functions are called, so there is one meaning; an error is left to the engine.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Value;
use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};

use crate::work::Cost;

/// What a builtin answers when all its arguments are texts; one that answers nothing special may then be an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnTexts {
    Text,
    Other,
    MayErr,
}

/// Builtins whose work and result are linear in their arguments.
const LOWERED: [(&str, OnTexts); 32] = [
    ("array.reverse", OnTexts::MayErr),
    ("array.slice", OnTexts::MayErr),
    ("concat", OnTexts::MayErr),
    ("contains", OnTexts::Other),
    ("count", OnTexts::Other),
    ("endswith", OnTexts::Other),
    ("glob.match", OnTexts::MayErr),
    ("indexof", OnTexts::MayErr),
    ("is_array", OnTexts::Other),
    ("is_boolean", OnTexts::Other),
    ("is_null", OnTexts::Other),
    ("is_number", OnTexts::Other),
    ("is_object", OnTexts::Other),
    ("is_set", OnTexts::Other),
    ("is_string", OnTexts::Other),
    ("lower", OnTexts::Text),
    ("net.cidr_contains", OnTexts::MayErr),
    ("net.cidr_is_valid", OnTexts::MayErr),
    ("object.get", OnTexts::MayErr),
    ("object.keys", OnTexts::MayErr),
    ("regex.match", OnTexts::MayErr),
    ("split", OnTexts::Other),
    ("startswith", OnTexts::Other),
    ("strings.any_prefix_match", OnTexts::MayErr),
    ("strings.any_suffix_match", OnTexts::MayErr),
    ("substring", OnTexts::MayErr),
    ("trim", OnTexts::Text),
    ("trim_prefix", OnTexts::Text),
    ("trim_space", OnTexts::Text),
    ("trim_suffix", OnTexts::Text),
    ("type_name", OnTexts::Text),
    ("upper", OnTexts::Text),
];

/// A call without its arguments, as the engine would make it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) name: &'static str,
    builtin: BuiltinFcn,
    on_texts: OnTexts,
    /// For the engine's messages, which are not shown from here.
    span: Span,
    parameters: Vec<Ref<Expr>>,
}

impl Call {
    /// `None` for builtins that are not in the table, or with another number of arguments.
    pub(super) fn of(name: &str, span: &Span, parameters: &[Ref<Expr>]) -> Option<Self> {
        let (name, on_texts) = LOWERED.iter().find(|(known, _)| *known == name)?;
        let builtin = *BUILTINS.get(name)?;
        (usize::from(builtin.1) == parameters.len()).then(|| Self {
            name,
            builtin,
            on_texts: *on_texts,
            span: span.clone(),
            parameters: parameters.to_vec(),
        })
    }

    /// The answer; `None` where the engine would err.
    pub(super) fn answer(&self, arguments: &[Value]) -> Option<Value> {
        Cost::of(self.name).charge(arguments).ok()?;
        // Not ours, so a panic in it is the engine's to report (law L9).
        let call = || (self.builtin.0)(&self.span, &self.parameters, arguments, true);
        catch_unwind(AssertUnwindSafe(call)).ok()?.ok()
    }

    /// Whether it answers with a text on any input, if its arguments are texts on any.
    pub(super) fn is_text(&self, of_texts: bool) -> bool {
        self.on_texts == OnTexts::Text && of_texts
    }

    /// Whether it never gives an error, on any input.
    pub(super) fn is_certain(&self, of_texts: bool) -> bool {
        self.on_texts != OnTexts::MayErr && of_texts
    }
}

/// What two equal calls have in common.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
