//! The table of the built-in functions.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::context::{BuiltinError, Context, ErrorKind, Function};
use super::signature::{Signature, signature};
use super::{
    arithmetic, aws, basics, cidr, collections, encoding, glob, hash, json_path, jwt, jwt_sign, misc, module_json,
    objects, private_keys, regex, schema, sprintf, strings, template, time, units, urls, uuid, x509,
};
use crate::value::Value;

/// A built-in function: what it takes and its code.
#[derive(Debug)]
pub struct Builtin {
    /// Name and types.
    pub signature: &'static Signature,
    function: Function,
}

impl Builtin {
    /// The name in a policy.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.signature.name
    }

    /// Calls the function.
    ///
    /// # Errors
    /// An argument of a wrong type, a refusal of the function, or a spent budget.
    pub fn call(&self, cx: &mut Context, args: &[Value]) -> Result<Option<Value>, BuiltinError> {
        if args.len() != self.signature.arity() && self.signature.variadic.is_none() {
            let message = format!("takes {} arguments but got {}", self.signature.arity(), args.len());
            return Err(BuiltinError { kind: ErrorKind::Internal, message });
        }
        cx.spend(1)?;
        if let Some(answers) = cx.answers.clone()
            && let Some(answer) = (answers.0)(self.name(), args)
        {
            return Ok(Some(answer));
        }
        (self.function)(cx, args)
    }
}

const FAMILIES: &[&[(&str, Function)]] = &[
    arithmetic::FUNCTIONS,
    aws::FUNCTIONS,
    basics::FUNCTIONS,
    cidr::FUNCTIONS,
    collections::FUNCTIONS,
    encoding::FUNCTIONS,
    glob::FUNCTIONS,
    #[cfg(feature = "graphql")]
    super::graphql::FUNCTIONS,
    hash::FUNCTIONS,
    json_path::FUNCTIONS,
    jwt::FUNCTIONS,
    jwt_sign::FUNCTIONS,
    misc::FUNCTIONS,
    module_json::FUNCTIONS,
    objects::FUNCTIONS,
    private_keys::FUNCTIONS,
    regex::FUNCTIONS,
    schema::FUNCTIONS,
    sprintf::FUNCTIONS,
    strings::FUNCTIONS,
    template::FUNCTIONS,
    time::FUNCTIONS,
    units::FUNCTIONS,
    urls::FUNCTIONS,
    uuid::FUNCTIONS,
    x509::FUNCTIONS,
];

/// The built-in function of a name.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Builtin> {
    static TABLE: OnceLock<BTreeMap<&'static str, Builtin>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let all = FAMILIES.iter().flat_map(|family| family.iter());
        all.filter_map(|(name, function)| Some((*name, Builtin { signature: signature(name)?, function: *function })))
            .collect()
    });
    table.get(name)
}
