//! Calls of builtins. The engine's own functions are called, so there is one meaning; an error is left to the engine.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sekisho_rego::builtins::{Builtin, Context, lookup};
use sekisho_rego::value::Value;

/// What a builtin answers when all its arguments are texts; one that answers nothing special may then be an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextResult {
    Text,
    Other,
    MayErr,
}

/// Builtins whose work and result are linear in their arguments.
const LOWERED: [(&str, TextResult); 32] = [
    ("array.reverse", TextResult::MayErr),
    ("array.slice", TextResult::MayErr),
    ("concat", TextResult::MayErr),
    ("contains", TextResult::Other),
    ("count", TextResult::Other),
    ("endswith", TextResult::Other),
    ("glob.match", TextResult::MayErr),
    ("indexof", TextResult::MayErr),
    ("is_array", TextResult::Other),
    ("is_boolean", TextResult::Other),
    ("is_null", TextResult::Other),
    ("is_number", TextResult::Other),
    ("is_object", TextResult::Other),
    ("is_set", TextResult::Other),
    ("is_string", TextResult::Other),
    ("lower", TextResult::Text),
    ("net.cidr_contains", TextResult::MayErr),
    ("net.cidr_is_valid", TextResult::MayErr),
    ("object.get", TextResult::MayErr),
    ("object.keys", TextResult::MayErr),
    ("regex.match", TextResult::MayErr),
    ("split", TextResult::Other),
    ("startswith", TextResult::Other),
    ("strings.any_prefix_match", TextResult::MayErr),
    ("strings.any_suffix_match", TextResult::MayErr),
    ("substring", TextResult::MayErr),
    ("trim", TextResult::Text),
    ("trim_prefix", TextResult::Text),
    ("trim_space", TextResult::Text),
    ("trim_suffix", TextResult::Text),
    ("type_name", TextResult::Text),
    ("upper", TextResult::Text),
];

/// A call without its arguments, as the engine would make it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) builtin: &'static Builtin,
    on_texts: TextResult,
}

impl Call {
    /// `None` for builtins that are not in the table, or with another number of arguments.
    pub(super) fn of(name: &str, arguments: usize) -> Option<Self> {
        let (name, on_texts) = LOWERED.iter().find(|(known, _)| *known == name)?;
        let builtin = lookup(name)?;
        (builtin.signature.arity() == arguments).then_some(Self { builtin, on_texts: *on_texts })
    }

    /// The answer, which may be undefined; the outer `None` where the engine would err.
    pub(super) fn answer(&self, arguments: &[Value], context: &RefCell<Context>) -> Option<Option<Value>> {
        // A panic in it is the engine's to report (law L9).
        let call = || self.builtin.call(&mut context.borrow_mut(), arguments);
        catch_unwind(AssertUnwindSafe(call)).ok()?.ok()
    }

    /// Whether it answers with a text on any input, if its arguments are texts on any.
    pub(super) fn is_text(&self, of_texts: bool) -> bool {
        self.on_texts == TextResult::Text && of_texts
    }

    /// Whether it never gives an error, on any input.
    pub(super) fn is_certain(&self, of_texts: bool) -> bool {
        self.on_texts != TextResult::MayErr && of_texts
    }
}

/// Calls of one builtin are alike.
impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.builtin.name() == other.builtin.name()
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.builtin.name().hash(state);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.builtin.name())
    }
}
