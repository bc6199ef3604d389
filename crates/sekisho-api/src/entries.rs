use sekisho_identity::{Entry, is_for_any_user};
use sekisho_types::{EntryId, Selector, SpiffeId, TrustDomain, UnixTime};
use serde::{Deserialize, Serialize};

use crate::FormError;

/// A registration entry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EntryForm {
    /// Chosen by the server when absent.
    #[serde(default)]
    pub id: Option<String>,
    pub spiffe_id: String,
    /// The agent's SPIFFE ID, or a node alias.
    pub parent_id: String,
    /// `type:value`; all must be found.
    pub selectors: Vec<String>,
    /// The selectors name no user, group or container, so every user who can run that executable can have its identity.
    /// An entry like that is refused unless this is true.
    #[serde(default)]
    pub danger_any_user: bool,
    /// Seconds; 0 is the server's default.
    #[serde(default)]
    pub x509_svid_ttl: u32,
    /// Seconds, at most 300; 0 is the server's default.
    #[serde(default)]
    pub jwt_svid_ttl: u32,
    #[serde(default)]
    pub federates_with: Vec<String>,
    #[serde(default)]
    pub admin: bool,
    #[serde(default)]
    pub downstream: bool,
    /// Unix seconds; 0 is never.
    #[serde(default)]
    pub expires_at: i64,
    #[serde(default)]
    pub dns_names: Vec<String>,
    #[serde(default)]
    pub store_svid: bool,
    #[serde(default)]
    pub hint: String,
    #[serde(default)]
    pub disable_x509_svid_prefetch: bool,
    #[serde(default)]
    pub jwt_svid_include_jti: bool,
    /// Ignored in requests.
    #[serde(default)]
    pub revision_number: i64,
    /// Unix seconds; ignored in requests.
    #[serde(default)]
    pub created_at: i64,
}

impl From<&Entry> for EntryForm {
    fn from(entry: &Entry) -> Self {
        Self {
            id: Some(entry.id.as_str().to_owned()),
            spiffe_id: entry.spiffe_id.to_string(),
            parent_id: entry.parent_id.to_string(),
            selectors: entry.selectors.iter().map(ToString::to_string).collect(),
            danger_any_user: is_for_any_user(&entry.selectors),
            x509_svid_ttl: entry.x509_ttl_seconds,
            jwt_svid_ttl: entry.jwt_ttl_seconds,
            federates_with: entry.federates_with.iter().map(ToString::to_string).collect(),
            admin: entry.admin,
            downstream: entry.downstream,
            expires_at: entry.expires_at.map_or(0, UnixTime::seconds),
            dns_names: entry.dns_names.clone(),
            store_svid: entry.store_svid,
            hint: entry.hint.clone(),
            disable_x509_svid_prefetch: entry.disable_x509_prefetch,
            jwt_svid_include_jti: entry.jwt_include_jti,
            revision_number: entry.revision_number,
            created_at: entry.created_at.seconds(),
        }
    }
}

impl EntryForm {
    /// The entry that the form describes, with `default_id` if it names none. Revision and times are the server's to set.
    pub fn to_entry(&self, default_id: &EntryId) -> Result<Entry, FormError> {
        let id = match &self.id {
            Some(id) => EntryId::parse(id).map_err(FormError::EntryId)?,
            None => default_id.clone(),
        };
        let spiffe = |field: &str, text: &str| {
            SpiffeId::parse(text).map_err(|error| FormError::SpiffeId(field.to_owned(), error))
        };
        let selector = |text: &String| Selector::parse(text).map_err(|error| FormError::Selector(text.clone(), error));
        let domain = |text: &String| TrustDomain::parse(text).map_err(FormError::FederatesWith);
        if self.expires_at < 0 {
            return Err(FormError::NegativeEnd);
        }
        let selectors = self.selectors.iter().map(selector).collect::<Result<_, _>>()?;
        if is_for_any_user(&selectors) && !self.danger_any_user && !selectors.is_empty() {
            return Err(FormError::AnyUser);
        }
        Ok(Entry {
            id,
            spiffe_id: spiffe("spiffe_id", &self.spiffe_id)?,
            parent_id: spiffe("parent_id", &self.parent_id)?,
            selectors,
            x509_ttl_seconds: self.x509_svid_ttl,
            jwt_ttl_seconds: self.jwt_svid_ttl,
            federates_with: self.federates_with.iter().map(domain).collect::<Result<_, _>>()?,
            admin: self.admin,
            downstream: self.downstream,
            expires_at: (self.expires_at > 0).then(|| UnixTime::from_seconds(self.expires_at)),
            dns_names: self.dns_names.clone(),
            revision_number: 0,
            store_svid: self.store_svid,
            hint: self.hint.clone(),
            created_at: UnixTime::default(),
            disable_x509_prefetch: self.disable_x509_svid_prefetch,
            jwt_include_jti: self.jwt_svid_include_jti,
        })
    }
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
    use super::*;

    /// SPIRE #6636: one flag was copied into another. Each field alone goes there and back.
    #[test]
    fn an_entry_goes_through_json_and_back_field_by_field() {
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
            "jwt_svid_include_jti": true, "x509_svid_ttl": 7, "jwt_svid_ttl": 8, "expires_at": 9, "hint": "h",
            "dns_names": ["a.example"], "federates_with": ["other.example"],
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
