//! What follows from the declaration of an event.

use crate::member::Member;

/// One event as the reference shows it.
pub(crate) struct Form {
    pub kind: &'static str,
    /// The member that tells events of one kind apart, and its value.
    pub tag: Option<Tag>,
    pub says: &'static str,
    pub members: &'static [MemberForm],
}

pub(crate) struct MemberForm {
    pub name: &'static str,
    pub form: &'static str,
    pub is_personal: bool,
    /// Some leaves have it.
    pub is_optional: bool,
}

/// Declares events: a type for each, the enum of all, how each is written and read, and what each counts. An event
/// without a tag stands behind the tagged ones of its kind. `=> Refusals(count)` adds the member `count` to the counter
/// of refusals; without a member, an event adds one.
macro_rules! events {
    ($(
        #[doc = $says:literal]
        $name:ident = $kind:literal $(, $tag:ident = $value:literal)? => $($counter:ident $(($by:ident))?),+ {
            $($member:ident: $form:ty,)*
        }
    )+) => {
        $(
            #[doc = $says]
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name {
                $(pub $member: $form,)*
            }

            impl $name {
                fn sample(next: &mut impl FnMut() -> u64) -> Option<Self> {
                    let _unused_without_members = next();
                    Some(Self { $($member: $crate::member::Member::sample(next())?,)* })
                }
            }

            impl From<$name> for Event {
                fn from(event: $name) -> Self {
                    Self::$name(event)
                }
            }
        )+

        /// Everything that is recorded in a leaf of its own.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($name($name),)+
        }

        impl Event {
            /// The `kind` of its leaf.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)+
                }
            }

            /// What happened, in words.
            pub fn says(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $says.trim(),)+
                }
            }

            /// Adds what it counts.
            pub fn count(&self, mut add: impl FnMut($crate::Counter, u64)) {
                match self {
                    $(Self::$name($name { $($($by,)?)+ .. }) => {
                        $(add($crate::Counter::$counter, $crate::counter::number(&[$($by)?]));)+
                    })+
                }
            }

            pub(crate) fn write<'a>(&'a self, out: &mut $crate::member::Writer<'a>) {
                match self {
                    $(Self::$name($name { $($member,)* }) => {
                        $(out.text(stringify!($tag), $value.into());)?
                        $($crate::member::Member::write($member, stringify!($member), out);)*
                    })+
                }
            }

            pub(crate) fn read(kind: &str, from: &mut $crate::member::Reader) -> Result<Self, $crate::LeafError> {
                $(if kind == $kind $(&& from.takes(stringify!($tag), $value))? {
                    return Ok(Self::$name($name {
                        $($member: $crate::member::Member::read(stringify!($member), from)?,)*
                    }));
                })+
                Err($crate::LeafError::Field("kind"))
            }

            /// One event of each form, for tests and fuzzing; others for another seed.
            pub fn samples(seed: u64) -> Vec<Self> {
                let mut seed = seed;
                let mut next = || {
                    seed = seed.wrapping_add(1);
                    seed
                };
                [$($name::sample(&mut next).map(Self::$name),)+].into_iter().flatten().collect()
            }

            pub(crate) const FORMS: &'static [$crate::declare::Form] = &[$($crate::declare::Form {
                kind: $kind,
                tag: $crate::declare::first(&[$((stringify!($tag), $value))?]),
                says: $says,
                members: &[$($crate::declare::member_form::<$form>(stringify!($member)),)*],
            },)+];
        }
    };
}

pub(crate) use events;

pub(crate) const fn member_form<M: Member>(name: &'static str) -> MemberForm {
    MemberForm { name, form: M::FORM, is_personal: M::IS_PERSONAL, is_optional: M::IS_OPTIONAL }
}

type Tag = (&'static str, &'static str);

pub(crate) const fn first(tags: &'static [Tag]) -> Option<Tag> {
    match tags {
        [tag, ..] => Some(*tag),
        [] => None,
    }
}
