//! Which built-in functions are called.

use std::sync::OnceLock;

use sekisho_rego::builtins::{Signature, Type, signatures};

use crate::constants::Kind;

/// Left out: what depends on more than its arguments, what needs a network, and what a compiler emits.
const OUTSIDE: &[&str] = &[
    "http.send",
    "net.lookup_ip_addr",
    "opa.runtime",
    "rand.intn",
    "time.now_ns",
    "uuid.rfc4122",
    "print",
    "trace",
    "walk",
    "io.jwt.encode_sign",
    "io.jwt.encode_sign_raw",
    "rego.parse_module",
    "assign",
    "eq",
];

/// The kind of what a type holds.
pub(crate) fn kind_of(kind: &Type) -> Kind {
    match kind {
        Type::Any | Type::Union(_) => Kind::Any,
        Type::Null => Kind::Null,
        Type::Bool => Kind::Bool,
        Type::Number => Kind::Number,
        Type::String => Kind::String,
        Type::Array(..) => Kind::Array,
        Type::Set(_) => Kind::Set,
        Type::Object(..) => Kind::Object,
    }
}

/// The functions that give a kind.
pub(crate) fn giving(kind: Kind, deprecated: bool) -> &'static [&'static Signature] {
    static TABLE: OnceLock<Vec<(Kind, bool, Vec<&'static Signature>)>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let kinds =
            [Kind::Any, Kind::Null, Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object, Kind::Set];
        let both = kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
        both.map(|(kind, deprecated)| {
            let fits = |one: &&Signature| {
                let named = !OUTSIDE.contains(&one.name.as_str())
                    && !one.name.starts_with("internal.")
                    && !one.name.starts_with("graphql.")
                    && !one.name.starts_with("rego.metadata.");
                let result = one.result.as_ref().is_some_and(|result| kind == Kind::Any || kind_of(result) == kind);
                named && result && (deprecated || !one.deprecated) && one.infix.as_deref() != Some("in")
            };
            (kind, deprecated, signatures().iter().filter(fits).collect())
        })
        .collect()
    });
    let row = table.iter().find(|row| (row.0, row.1) == (kind, deprecated));
    row.map_or(&[], |row| row.2.as_slice())
}
