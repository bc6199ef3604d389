//! The digest of the executable that the kernel measured (IMA), where it measures.
//!
//! `/proc/<pid>/exe` can be forged from a user namespace. The kernel's list of measurements cannot: it holds the digest
//! of each file that was run, taken by the kernel itself. Where both exist they have to agree.

use std::sync::{Mutex, PoisonError};

use sekisho_evidence::{Class, IMA};

use super::attestor::{Found, WorkloadAttestor};
use crate::basis::Basis;
use crate::measured_files::{MeasuredFiles, Verdict};
use crate::{HostError, Process};

pub(super) struct Ima;

static MEASURED: Mutex<MeasuredFiles> = Mutex::new(MeasuredFiles::of_machine());

impl WorkloadAttestor for Ima {
    fn class(&self) -> &'static Class {
        &IMA
    }

    fn measure(&self, process: &Process, basis: &Basis) -> Result<Found, HostError> {
        let (Some(digest), Some(path)) = (basis.executable_digest, &basis.executable_path) else { return Ok(vec![]) };
        let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
        measured.read_on();
        match measured.judge(path, &digest) {
            Verdict::Agrees => Ok(vec![("sha256", digest.to_string())]),
            Verdict::NotMeasured => Ok(vec![]),
            Verdict::Differs => Err(HostError::OtherMeasured(process.pid())),
        }
    }

    fn look_again(&self, _: &Process) -> Result<Option<Found>, HostError> {
        Ok(None)
    }
}
