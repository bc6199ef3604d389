//! Personal data: the log holds a salted hash, and the opening of the hash is kept beside the log.

use std::marker::PhantomData;

use sekisho_types::Digest;

use crate::commitment::{Commitment, Opening};
use crate::error::LeafError;
use crate::member::{Member, Reader, Word, Writer};

/// A value that is in the log as a salted commitment only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal<T>(State<T>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State<T> {
    Open { value: T, nonce: [u8; 32] },
    Sealed(Commitment, PhantomData<T>),
}

impl<T> Personal<T> {
    /// `nonce` must be random and used once: with a known one the value can be guessed.
    pub const fn new(value: T, nonce: [u8; 32]) -> Self {
        Self(State::Open { value, nonce })
    }

    /// The value, unless what opens its commitment is missing.
    pub const fn value(&self) -> Option<&T> {
        match &self.0 {
            State::Open { value, .. } => Some(value),
            State::Sealed(..) => None,
        }
    }
}

impl<T: Word> Member for Personal<T> {
    const FORM: &'static str = T::FORM;
    const IS_PERSONAL: bool = true;

    fn write<'a>(&'a self, name: &'static str, out: &mut Writer<'a>) {
        match &self.0 {
            State::Open { value, nonce } => {
                let opening = Opening { field: name.to_owned(), nonce: *nonce, value: value.text().into_owned() };
                out.text(name, opening.commitment().to_string().into());
                out.openings.push(opening);
            }
            State::Sealed(commitment, _) => out.text(name, commitment.to_string().into()),
        }
    }

    fn read(name: &'static str, from: &mut Reader) -> Result<Self, LeafError> {
        let commitment = Commitment::parse(&from.text(name)?).ok_or(LeafError::Field(name))?;
        let Some(opening) = from.openings.remove(name) else {
            return Ok(Self(State::Sealed(commitment, PhantomData)));
        };
        if opening.commitment() != commitment {
            return Err(LeafError::Opening(name.to_owned()));
        }
        let value = T::parse(&opening.value).ok_or(LeafError::Value(name))?;
        Ok(Self(State::Open { value, nonce: opening.nonce }))
    }

    fn sample(seed: u64) -> Option<Self> {
        Some(Self::new(T::sample(seed)?, *<Digest as Word>::sample(seed)?.as_bytes()))
    }
}
