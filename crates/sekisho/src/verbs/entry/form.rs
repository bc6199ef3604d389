//! What an entry may have besides its selectors, and how one is shown.

use clap::Args;
use sekisho_api::EntryForm;
use sekisho_runtime::{exact_duration, parse_time, seconds_in};
use sekisho_types::UnixTime;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Let the selectors name only an executable: then every user who can run it gets its identity
    #[arg(long, env = "SEKISHO_DANGER_ANY_USER")]
    pub(super) danger_any_user: bool,
    /// Lifetime of its X.509-SVIDs; default: that of the server
    #[arg(long, env = "SEKISHO_ENTRY_X509_TTL", value_name = "DURATION", value_parser = seconds_in(1..))]
    pub(super) x509_ttl: Option<u32>,
    /// Lifetime of its JWT-SVIDs, at most `5m`
    #[arg(long, env = "SEKISHO_ENTRY_JWT_TTL", value_name = "DURATION", value_parser = seconds_in(1..=300))]
    pub(super) jwt_ttl: Option<u32>,
    /// The identity may administer the server over TLS
    #[arg(long, env = "SEKISHO_ENTRY_ADMIN")]
    pub(super) admin: Option<bool>,
    /// Make the private key of its X.509-SVIDs in the TPM of the node. Only a sidecar can use it then: no process gets
    /// the key, and no JWT-SVID
    #[arg(long, env = "SEKISHO_ENTRY_TPM_KEY")]
    pub(super) tpm_key: Option<bool>,
    /// DNS name in the certificate; the first becomes its common name
    #[arg(long = "dns-name", env = "SEKISHO_ENTRY_DNS_NAMES", value_delimiter = ',')]
    pub(super) dns_names: Vec<String>,
    /// A text by which a workload with several identities can choose one
    #[arg(long, env = "SEKISHO_ENTRY_HINT")]
    pub(super) hint: Option<String>,
    /// When the entry expires, as `2027-01-31T12:00:00Z`, or `never`
    #[arg(long, env = "SEKISHO_ENTRY_EXPIRES_AT", value_parser = end)]
    pub(super) expires_at: Option<i64>,
}

impl Options {
    /// Puts the given values into an entry; the rest stays.
    pub(super) fn put_into(self, entry: &mut EntryForm) {
        fn put<T>(to: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *to = given;
            }
        }
        put(&mut entry.x509_svid_ttl, self.x509_ttl);
        put(&mut entry.jwt_svid_ttl, self.jwt_ttl);
        put(&mut entry.admin, self.admin);
        put(&mut entry.tpm_key, self.tpm_key);
        put(&mut entry.hint, self.hint);
        put(&mut entry.expires_at_ms, self.expires_at);
        put(&mut entry.danger_any_user, self.danger_any_user.then_some(true));
        put(&mut entry.dns_names, (!self.dns_names.is_empty()).then_some(self.dns_names));
    }
}

fn end(text: &str) -> Result<i64, String> {
    if text == "never" { Ok(0) } else { parse_time(text).map(UnixTime::millis) }
}

pub(super) fn describe(entry: &EntryForm) -> String {
    let lifetime = |seconds: u32| if seconds == 0 { "the server's".to_owned() } else { exact_duration(seconds.into()) };
    let expires = if entry.expires_at_ms == 0 {
        "never".to_owned()
    } else {
        UnixTime::from_millis(entry.expires_at_ms).to_string()
    };
    format!(
        "id        {}\nspiffe id {}\nparent    {}\nselectors {}\nlifetimes X.509-SVID {}, JWT-SVID \
            {}\nkey       {}\ncreated   {}\nexpires   {expires}",
        entry.id.as_deref().unwrap_or_default(),
        entry.spiffe_id,
        entry.parent_id,
        entry.selectors.join("\n          "),
        lifetime(entry.x509_svid_ttl),
        lifetime(entry.jwt_svid_ttl),
        if entry.tpm_key { "in the TPM of the node" } else { "in software" },
        UnixTime::from_millis(entry.created_at_ms),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Members of the form that have no option: given elsewhere, set by the server, or for SPIRE's clients only.
    const NO_OPTION: [&str; 11] = [
        "created_at_ms",
        "disable_x509_svid_prefetch",
        "downstream",
        "federates_with",
        "id",
        "jwt_svid_include_jti",
        "parent_id",
        "revision_number",
        "selectors",
        "spiffe_id",
        "store_svid",
    ];

    #[test]
    fn each_form_member_has_an_option() {
        let form = serde_json::to_value(EntryForm::default()).unwrap();
        let options = Options::augment_args(clap::Command::new("entry"));
        // Lifetimes of SVIDs are shorter here, and times have no unit.
        let options = options
            .get_arguments()
            .map(|option| option.get_id().as_str().replace("_ttl", "_svid_ttl").replace("expires_at", "expires_at_ms"));
        let known: BTreeSet<String> = options.chain(NO_OPTION.map(str::to_owned)).collect();
        let members: BTreeSet<String> = form.as_object().unwrap().keys().cloned().collect();
        assert_eq!(known, members);
    }
}
