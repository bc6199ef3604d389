//! What follows from the declaration of entries.

/// Declares entries: their type, the empty entry, and how a record is written and read. Fields are in the order of a
/// record's members. `always`: a member of each record. `if_set`: a member only where it is not the default; new fields
/// are of this kind, so that earlier records keep their bytes. `given`: each entry must have it.
macro_rules! entry {
    (
        $(#[$about:meta])*
        new($($given:ident: $given_form:ty),+);
        $($(#[$doc:meta])* $field:ident: $form:ty = $member:literal, $rule:ident;)+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Entry {
            $($(#[$doc])* pub $field: $form,)+
        }

        impl Entry {
            /// An entry with its required fields only: the server's defaults, no expiry and no rights.
            pub fn new($($given: $given_form),+) -> Self {
                Self { $($field: entry!(@begin $rule $field),)+ }
            }

            /// For tests and fuzzing: some entry, with something in most fields. Seeds that follow each other give
            /// entries that differ in all of them.
            pub fn sample(seed: u64) -> Option<Self> {
                Some(Self { $($field: $crate::entry_field::Field::sample(seed)?,)+ })
            }

            /// This entry with one field from another, for each field.
            #[cfg(test)]
            pub(crate) fn with_each_of(&self, other: &Self) -> Vec<(&'static str, Self)> {
                vec![$((stringify!($field), Self { $field: other.$field.clone(), ..self.clone() }),)+]
            }

            /// The members of a record, but for its version.
            pub const MEMBERS: &'static [&'static str] = &[$($member,)+];

            pub(crate) fn write_members<M: serde::ser::SerializeMap>(
                &self,
                write: &mut impl FnMut(&mut M, &'static str) -> Result<(), M::Error>,
                to: &mut M,
            ) -> Result<(), M::Error> {
                let Self { $($field,)+ } = self;
                $(if entry!(@is_written $rule $field $form) {
                    write(to, $member)?;
                    to.serialize_value(&$crate::entry_field::Written($field))?;
                })+
                Ok(())
            }

            /// Reads a record's members; `other` takes those that are not of a field, and refuses what it does not
            /// know.
            pub(crate) fn read_members<'de, A: serde::de::MapAccess<'de>>(
                mut members: A,
                mut other: impl FnMut(&'de str, &mut A) -> Result<(), A::Error>,
            ) -> Result<Self, A::Error> {
                use serde::de::Error;
                $(let mut $field: Option<$form> = None;)+
                while let Some(name) = members.next_key::<&'de str>()? {
                    match name {
                        $($member if $field.is_none() => {
                            let $crate::entry_field::Read(value) = members.next_value()?;
                            $field = Some(value);
                        })+
                        $($member => return Err(A::Error::duplicate_field($member)),)+
                        name => other(name, &mut members)?,
                    }
                }
                Ok(Self { $($field: entry!(@end $rule $field $member)?,)+ })
            }
        }
    };
    (@begin given $field:ident) => { $field };
    (@begin $rule:ident $field:ident) => { Default::default() };
    (@is_written if_set $field:ident $form:ty) => { *$field != <$form>::default() };
    (@is_written $rule:ident $field:ident $form:ty) => { true };
    (@end if_set $field:ident $member:literal) => { Ok::<_, A::Error>($field.unwrap_or_default()) };
    (@end $rule:ident $field:ident $member:literal) => { $field.ok_or_else(|| A::Error::missing_field($member)) };
}

pub(crate) use entry;
