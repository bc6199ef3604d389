use sekisho_events::DeviceApproved;
use sekisho_runtime::now;
use sekisho_store::Write;
use sekisho_types::Digest;

use crate::caller::Operator;
use crate::change::{Change, Facts};
use crate::command::Changes;
use crate::journal::personal;
use crate::registration::RegistrationError;

/// Allows one TPM, by the hash of its endorsement key, whether it asked already or not.
pub(crate) struct ApproveTpm {
    pub ek: Digest,
}

impl Changes for ApproveTpm {
    type Caller = Operator;
    type Reply = ();
    type Error = RegistrationError;

    fn prepare(&self, _: Facts<'_>, by: &Operator) -> Result<Change<()>, RegistrationError> {
        let approved = DeviceApproved { by: personal(by.name().to_owned()), device: self.ek };
        let write = Write::ApproveDevice { key: self.ek, by: Some(by.name().to_owned()), at: now() };
        Ok(Change::with_reply(()).write(write).event(approved))
    }
}
