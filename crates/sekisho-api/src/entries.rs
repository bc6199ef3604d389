use serde::{Deserialize, Serialize};

use crate::entry_form::entry_form;

entry_form! {
    /// A registration entry.
    own {
        /// Chosen by the server when absent.
        #[serde(default)]
        id: Option<String>,
        /// The selectors name no user, group or container, so every user who can run that executable can have its
        /// identity. An entry like that is refused unless this is true.
        #[serde(default)]
        danger_any_user: bool,
        /// Ignored in requests.
        #[serde(default)]
        revision_number: i64,
        /// Unix milliseconds; ignored in requests.
        #[serde(default)]
        created_at_ms: i64,
    }
    spiffe_id = spiffe_id: String;
    /// The agent's SPIFFE ID, or a node alias.
    parent_id = parent_id: String;
    /// `type:value`; all must be found.
    selectors = selectors: Vec<String>;
    /// Seconds; 0 is the server's default.
    #[serde(default)]
    x509_svid_ttl = x509_ttl_seconds: u32;
    /// Seconds, at most 300; 0 is the server's default.
    #[serde(default)]
    jwt_svid_ttl = jwt_ttl_seconds: u32;
    #[serde(default)]
    federates_with = federates_with: Vec<String>;
    #[serde(default)]
    admin = admin: bool;
    #[serde(default)]
    downstream = downstream: bool;
    /// Unix milliseconds; 0 is never.
    #[serde(default)]
    expires_at_ms = expires_at: i64;
    #[serde(default)]
    dns_names = dns_names: Vec<String>;
    #[serde(default)]
    store_svid = store_svid: bool;
    #[serde(default)]
    hint = hint: String;
    #[serde(default)]
    disable_x509_svid_prefetch = disable_x509_prefetch: bool;
    #[serde(default)]
    jwt_svid_include_jti = jwt_include_jti: bool;
    /// The private key of its X.509-SVIDs is made in the TPM of the node, which certifies it. A sidecar uses it there;
    /// no process gets it, and no JWT-SVID is issued.
    #[serde(default)]
    tpm_key = tpm_key: bool;
}

/// A page of entries, by id.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EntryList {
    pub entries: Vec<EntryForm>,
    /// Pass as `after` for the next page; absent on the last one.
    pub next: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    /// Only entries with this SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// Only entries of this parent.
    pub parent_id: Option<String>,
    /// Only entries that are for any user (true), or that are not (false).
    pub danger_any_user: Option<bool>,
    /// Entries after this id, for the next page.
    pub after: Option<String>,
    /// At most 1000; 1000 by default.
    pub limit: Option<usize>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct UpdateQuery {
    /// Refuse if the entry's `revision_number` is another one by now.
    pub if_revision: Option<i64>,
    /// Let the entry ask for less than before.
    #[serde(default)]
    pub danger_loosen: bool,
}

#[cfg(test)]
mod tests {
    use sekisho_types::EntryId;

    use super::*;

    #[test]
    fn each_entry_field_is_in_its_form() {
        for seed in 0..40 {
            let entry = sekisho_identity::Entry::sample(seed).unwrap();
            let form = EntryForm { danger_any_user: true, ..EntryForm::from(&entry) };
            let read = form.to_entry(&EntryId::parse("other").unwrap()).unwrap();
            // The server sets these.
            let (revision_number, created_at) = (entry.revision_number, entry.created_at);
            assert_eq!(sekisho_identity::Entry { revision_number, created_at, ..read }, entry);
        }
    }

    /// SPIRE #6636: one flag was copied into another. Each field alone goes there and back.
    #[test]
    fn each_entry_field_survives_json() {
        let plain = serde_json::json!({
            "id": "e", "spiffe_id": "spiffe://td.example/a", "parent_id": "spiffe://td.example/n",
            "selectors": ["unix:uid:1"],
        });
        let read = |value: &serde_json::Value| {
            let form: EntryForm = serde_json::from_value(value.clone()).unwrap();
            let entry = form.to_entry(&EntryId::parse("other").unwrap()).unwrap();
            serde_json::to_value(EntryForm::from(&entry)).unwrap()
        };
        let base = read(&plain);
        let fields = serde_json::json!({
            "admin": true, "downstream": true, "store_svid": true, "disable_x509_svid_prefetch": true,
            "jwt_svid_include_jti": true, "tpm_key": true, "x509_svid_ttl": 7, "jwt_svid_ttl": 8, "expires_at_ms": 9,
            "hint": "h", "dns_names": ["a.example"], "federates_with": ["other.example"],
        });
        for (name, value) in fields.as_object().unwrap() {
            let mut changed = plain.clone();
            changed[name] = value.clone();
            let mut expected = base.clone();
            expected[name] = value.clone();
            assert_eq!(read(&changed), expected, "{name}");
        }
    }
}
