//! The built-in functions of Rego.

mod arithmetic;
mod aws;
mod basics;
pub(crate) mod block;
mod cidr;
mod civil;
mod collections;
mod context;
mod der;
mod encoding;
mod float;
mod glob;
mod globs;
mod gofloat;
mod goformat;
#[cfg(feature = "graphql")]
mod graphql;
mod hash;
mod json_path;
mod jwt;
mod jwt_sign;
mod keys;
mod layout;
mod md5;
mod misc;
mod module_json;
mod objects;
#[cfg(test)]
mod odd_tests;
mod operand;
mod pattern;
mod private_keys;
mod regex;
mod request;
mod schema;
mod schema_check;
mod schema_format;
mod schema_report;
mod signature;
mod sprintf;
mod strings;
mod table;
mod template;
mod template_functions;
mod template_parse;
mod time;
mod time_parse;
mod units;
mod urls;
mod uuid;
mod x509;
mod x509_json;
mod x509_verify;
mod yaml;
mod zone;

pub(crate) use module_json::{body_json, module_json};

pub use context::{Answer, Answers, BuiltinError, Context, DEFAULT_WORK, ErrorKind};
pub(crate) use glob::glob_pattern;
pub(crate) use pattern::regex_pattern;
pub use signature::{Signature, Type, signature, signature_index, signatures};
pub use table::{Builtin, lookup};
