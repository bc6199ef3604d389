//! What an entry may have besides its selectors, and how one is shown.

use clap::Args;
use sekisho_api::EntryForm;

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
    /// Puts what was given into an entry; the rest stays.
    pub(super) fn put_into(self, entry: &mut EntryForm) {
        fn put<T>(to: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *to = given;
            }
        }
        put(&mut entry.x509_svid_ttl, self.x509_ttl);
        put(&mut entry.jwt_svid_ttl, self.jwt_ttl);
        put(&mut entry.admin, self.admin);
        put(&mut entry.hint, self.hint);
        put(&mut entry.expires_at, self.expires_at);
        put(&mut entry.danger_any_user, self.danger_any_user.then_some(true));
        put(&mut entry.dns_names, (!self.dns_names.is_empty()).then_some(self.dns_names));
    }
}

pub(super) fn describe(entry: &EntryForm) -> String {
    format!(
        "id        {}\nspiffe id {}\nparent    {}\nselectors {}",
        entry.id.as_deref().unwrap_or_default(),
        entry.spiffe_id,
        entry.parent_id,
        entry.selectors.join("\n          ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Members of the form that are no option: said elsewhere, the server's, or for clients of SPIRE's kind only.
    const NO_OPTION: [&str; 11] = [
        "created_at",
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
    fn each_member_of_the_form_is_an_option_or_is_known_to_be_none() {
        let form = serde_json::to_value(EntryForm::default()).unwrap();
        let options = Options::augment_args(clap::Command::new("entry"));
        // Lifetimes of SVIDs are shorter here.
        let options = options.get_arguments().map(|option| option.get_id().as_str().replace("_ttl", "_svid_ttl"));
        let known: BTreeSet<String> = options.chain(NO_OPTION.map(str::to_owned)).collect();
        let members: BTreeSet<String> = form.as_object().unwrap().keys().cloned().collect();
        assert_eq!(known, members);
    }
}
