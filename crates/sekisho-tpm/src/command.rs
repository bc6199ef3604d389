//! Commands as a TPM takes them: header, handles, authorizations, parameters (part 1, §18).

use crate::error::TpmError;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// `TPM_RS_PW`: the authorization value itself, which is empty for all our keys.
const PASSWORD: u32 = 0x4000_0009;
const CONTINUE_SESSION: u8 = 1;

/// A command while it is put together.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    code: u32,
    handles: Vec<u8>,
    authorizations: Vec<u8>,
    parameters: Vec<u8>,
    is_too_long: bool,
}

impl Command {
    pub(crate) const fn new(name: &'static str, code: u32) -> Self {
        Self { name, code, handles: Vec::new(), authorizations: Vec::new(), parameters: Vec::new(), is_too_long: false }
    }

    /// A handle that needs no authorization.
    pub(crate) fn handle(mut self, handle: u32) -> Self {
        self.handles.extend(handle.to_be_bytes());
        self
    }

    /// A handle that is authorized by its empty authorization value.
    pub(crate) fn authorized(self, handle: u32) -> Self {
        self.with_session(handle, PASSWORD, 0)
    }

    /// A handle that is authorized by a policy session.
    pub(crate) fn by_policy(self, handle: u32, session: u32) -> Self {
        self.with_session(handle, session, CONTINUE_SESSION)
    }

    fn with_session(mut self, handle: u32, session: u32, attributes: u8) -> Self {
        self.authorizations.extend(session.to_be_bytes());
        // No nonce, and no HMAC: the value is empty.
        self.authorizations.extend([0, 0, attributes, 0, 0]);
        self.handle(handle)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.parameters.extend(bytes);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A `TPM2B`: its length, then its bytes.
    pub(crate) fn sized(mut self, bytes: &[u8]) -> Self {
        let Ok(length) = u16::try_from(bytes.len()) else {
            self.is_too_long = true;
            return self;
        };
        self.u16(length).bytes(bytes)
    }

    pub(crate) fn has_sessions(&self) -> bool {
        !self.authorizations.is_empty()
    }

    /// The whole command.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, TpmError> {
        let too_long = |_| TpmError::TooLong(self.name);
        let mut body = self.handles.clone();
        if self.has_sessions() {
            body.extend(u32::try_from(self.authorizations.len()).map_err(too_long)?.to_be_bytes());
            body.extend(&self.authorizations);
        }
        body.extend(&self.parameters);
        if self.is_too_long || body.len() > 4096 - 10 {
            return Err(TpmError::TooLong(self.name));
        }
        let tag = if self.has_sessions() { SESSIONS } else { NO_SESSIONS };
        let size = u32::try_from(body.len() + 10).map_err(too_long)?;
        Ok([&tag.to_be_bytes()[..], &size.to_be_bytes(), &self.code.to_be_bytes(), &body].concat())
    }
}
