//! Responses of a TPM: header, handle, parameters.

use sekisho_evidence::Malformed;

use crate::error::TpmError;

/// The parameters of a response that reported success.
#[derive(Debug)]
pub(crate) struct Response {
    command: &'static str,
    rest: Vec<u8>,
    at: usize,
}

/// A response code, or the parameters after it.
pub(crate) enum Answer {
    Success(Response),
    Code(u32),
}

impl Response {
    /// Splits a response. `has_handle`: a handle stands before the parameters; it is returned with them.
    pub(crate) fn split(
        command: &'static str,
        bytes: Vec<u8>,
        has_handle: bool,
        has_sessions: bool,
    ) -> Result<(Answer, u32), TpmError> {
        let mut all = Self { command, rest: bytes, at: 0 };
        let (_tag, size, code) = (all.u16()?, all.u32()?, all.u32()?);
        if usize::try_from(size) != Ok(all.rest.len()) {
            return Err(all.refusal("its size is not the one that it states"));
        }
        if code != 0 {
            return Ok((Answer::Code(code), 0));
        }
        let handle = if has_handle { all.u32()? } else { 0 };
        if has_sessions {
            let length = usize::try_from(all.u32()?).unwrap_or(usize::MAX);
            let end = all.at.checked_add(length).filter(|end| *end <= all.rest.len());
            let end = end.ok_or_else(|| all.refusal("its parameters are longer than the response"))?;
            // What follows are acknowledgements of the sessions.
            all.rest.truncate(end);
        }
        Ok((Answer::Success(all), handle))
    }

    fn refusal(&self, why: &'static str) -> TpmError {
        TpmError::Answer { command: self.command, error: Malformed { structure: "response", at: self.at, why } }
    }

    fn bytes(&mut self, count: usize) -> Result<&[u8], TpmError> {
        let end = self.at.saturating_add(count);
        if end > self.rest.len() {
            return Err(self.refusal("it ends early"));
        }
        let start = std::mem::replace(&mut self.at, end);
        Ok(self.rest.get(start..end).unwrap_or_default())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn sized(&mut self) -> Result<Vec<u8>, TpmError> {
        let length = usize::from(self.u16()?);
        self.bytes(length).map(<[u8]>::to_vec)
    }

    pub(crate) fn taken(&mut self, count: usize) -> Result<Vec<u8>, TpmError> {
        self.bytes(count).map(<[u8]>::to_vec)
    }

    /// Everything that is left.
    pub(crate) fn remaining(mut self) -> Vec<u8> {
        self.rest.split_off(self.at.min(self.rest.len()))
    }
}
