//! Trust as a type: claimed values, and verified values.

/// A value that a peer asserts and that was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed<T>(T);

impl<T> Claimed<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for looking things up and for messages; never for granting anything.
    pub const fn unverified(&self) -> &T {
        &self.0
    }
}

/// A value whose proof was checked. Search for `Verified::assertion` to see each place that creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Asserts that the caller has just checked the proof for `value`.
    pub const fn assertion(value: T) -> Self {
        Self(value)
    }

    pub const fn get(&self) -> &T {
        &self.0
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}
