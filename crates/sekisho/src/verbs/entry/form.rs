//! What an entry may have besides its selectors, and how one is shown.

use clap::Args;
use serde_json::{Value, json};

use crate::output::text;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Let the selectors name an executable alone: then every user who can run it can have its identity
    #[arg(long, env = "SEKISHO_DANGER_ANY_USER")]
    pub(super) danger_any_user: bool,
    /// Lifetime of its X.509-SVIDs, in seconds; the server's default if absent
    #[arg(long, env = "SEKISHO_ENTRY_X509_TTL")]
    pub(super) x509_ttl: Option<u32>,
    /// Lifetime of its JWT-SVIDs, in seconds, at most 300
    #[arg(long, env = "SEKISHO_ENTRY_JWT_TTL")]
    pub(super) jwt_ttl: Option<u32>,
    /// May administer the server over TLS
    #[arg(long, env = "SEKISHO_ENTRY_ADMIN")]
    pub(super) admin: Option<bool>,
    /// DNS name in the certificate; the first becomes its common name
    #[arg(long = "dns-name", env = "SEKISHO_ENTRY_DNS_NAMES", value_delimiter = ',')]
    pub(super) dns_names: Vec<String>,
    /// Helps a workload with several identities to choose
    #[arg(long, env = "SEKISHO_ENTRY_HINT")]
    pub(super) hint: Option<String>,
    /// Unix seconds at which the entry expires
    #[arg(long, env = "SEKISHO_ENTRY_EXPIRES_AT")]
    pub(super) expires_at: Option<i64>,
}

impl Options {
    pub(super) fn put_into(self, entry: &mut Value) {
        let Some(entry) = entry.as_object_mut() else { return };
        let mut put = |name: &str, value: Option<Value>| entry.extend(value.map(|value| (name.to_owned(), value)));
        put("x509_svid_ttl", self.x509_ttl.map(Value::from));
        put("jwt_svid_ttl", self.jwt_ttl.map(Value::from));
        put("admin", self.admin.map(Value::from));
        put("hint", self.hint.map(Value::from));
        put("expires_at", self.expires_at.map(Value::from));
        put("danger_any_user", self.danger_any_user.then_some(Value::Bool(true)));
        put("dns_names", (!self.dns_names.is_empty()).then(|| json!(self.dns_names)));
    }
}

pub(super) fn describe(entry: &Value) -> String {
    let selectors: Vec<&str> =
        entry.get("selectors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "id        {}\nspiffe id {}\nparent    {}\nselectors {}",
        text(entry, "/id"),
        text(entry, "/spiffe_id"),
        text(entry, "/parent_id"),
        selectors.join("\n          ")
    )
}
