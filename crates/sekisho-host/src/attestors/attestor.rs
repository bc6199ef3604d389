use sekisho_evidence::Class;

use crate::basis::Basis;
use crate::{HostError, Process};

/// What an attestor found: names and values of selectors of its class.
pub(crate) type Found = Vec<(&'static str, String)>;

/// One way to find out what a process is.
pub(crate) trait WorkloadAttestor: Sync {
    /// The namespace of all that it finds.
    fn class(&self) -> &'static Class;

    /// What it finds of a living process; nothing where it has nothing to say. Whatever cannot be checked is not found.
    fn measure(&self, process: &Process, basis: &Basis) -> Result<Found, HostError>;

    /// What it finds now, to compare it with what it found; `None` if that follows from the basis, which is compared
    /// anyway.
    fn look_again(&self, process: &Process) -> Result<Option<Found>, HostError>;
}
