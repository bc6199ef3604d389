//! The form of an entry, and its way from and to an entry, from one declaration.

use std::collections::BTreeSet;

use sekisho_types::{Selector, SelectorSet, SpiffeId, TrustDomain, UnixTime};

use crate::FormError;

/// Declares the form: what is its own, and for each field of an entry its name in the form and its type there. A field
/// of entries that has no line here does not compile.
macro_rules! entry_form {
    (
        $(#[$about:meta])*
        own { $($(#[$own_doc:meta])* $own:ident: $own_form:ty,)+ }
        $($(#[$doc:meta])* $name:ident = $field:ident: $form:ty;)+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields)]
        pub struct EntryForm {
            $($(#[$own_doc])* pub $own: $own_form,)+
            $($(#[$doc])* pub $name: $form,)+
        }

        impl From<&sekisho_identity::Entry> for EntryForm {
            fn from(entry: &sekisho_identity::Entry) -> Self {
                let sekisho_identity::Entry { id, revision_number, created_at, $($field),+ } = entry;
                Self {
                    id: Some(id.as_str().to_owned()),
                    danger_any_user: sekisho_identity::is_for_any_user(&entry.selectors),
                    revision_number: *revision_number,
                    created_at_ms: created_at.millis(),
                    $($name: $crate::entry_form::Shown::show($field),)+
                }
            }
        }

        impl EntryForm {
            /// The entry that the form describes, with `default_id` if it names none. Revision and times are the
            /// server's to set.
            pub fn to_entry(
                &self,
                default_id: &sekisho_types::EntryId,
            ) -> Result<sekisho_identity::Entry, $crate::FormError> {
                let entry = sekisho_identity::Entry {
                    id: match &self.id {
                        Some(id) => sekisho_types::EntryId::parse(id).map_err($crate::FormError::EntryId)?,
                        None => default_id.clone(),
                    },
                    revision_number: 0,
                    created_at: sekisho_types::UnixTime::default(),
                    $($field: $crate::entry_form::Shown::read(&self.$name, stringify!($name))?,)+
                };
                let any_user = sekisho_identity::is_for_any_user(&entry.selectors) && !entry.selectors.is_empty();
                if any_user && !self.danger_any_user { Err($crate::FormError::AnyUser) } else { Ok(entry) }
            }
        }
    };
}

pub(crate) use entry_form;

/// How a field is shown in JSON, by its type.
pub(crate) trait Shown: Sized {
    type Form;

    fn show(&self) -> Self::Form;
    fn read(form: &Self::Form, name: &str) -> Result<Self, FormError>;
}

macro_rules! as_it_is {
    ($($form:ty),+) => {$(
        impl Shown for $form {
            type Form = Self;

            fn show(&self) -> Self {
                self.clone()
            }

            fn read(form: &Self, _name: &str) -> Result<Self, FormError> {
                Ok(form.clone())
            }
        }
    )+};
}

as_it_is!(bool, u32, String, Vec<String>);

impl Shown for SpiffeId {
    type Form = String;

    fn show(&self) -> String {
        self.as_str().to_owned()
    }

    fn read(form: &String, name: &str) -> Result<Self, FormError> {
        Self::parse(form).map_err(|error| FormError::SpiffeId(name.to_owned(), error))
    }
}

impl Shown for SelectorSet {
    type Form = Vec<String>;

    fn show(&self) -> Vec<String> {
        self.iter().map(|selector| selector.as_str().to_owned()).collect()
    }

    fn read(form: &Vec<String>, _name: &str) -> Result<Self, FormError> {
        let one = |text: &String| Selector::parse(text).map_err(|error| FormError::Selector(text.clone(), error));
        form.iter().map(one).collect()
    }
}

impl Shown for BTreeSet<TrustDomain> {
    type Form = Vec<String>;

    fn show(&self) -> Vec<String> {
        self.iter().map(|domain| domain.as_str().to_owned()).collect()
    }

    fn read(form: &Vec<String>, _name: &str) -> Result<Self, FormError> {
        form.iter().map(|name| TrustDomain::parse(name).map_err(FormError::FederatesWith)).collect()
    }
}

/// Unix milliseconds; zero is never.
impl Shown for Option<UnixTime> {
    type Form = i64;

    fn show(&self) -> i64 {
        self.map_or(0, UnixTime::millis)
    }

    fn read(form: &i64, _name: &str) -> Result<Self, FormError> {
        match *form {
            ..0 => Err(FormError::NegativeEnd),
            0 => Ok(None),
            millis => Ok(Some(UnixTime::from_millis(millis))),
        }
    }
}
