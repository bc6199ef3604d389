//! A small typed client of TPM 2.0 devices: what attestation needs, and no more.
//!
//! It sends commands of the TPM 2.0 Library specification (part 3) to the kernel's resource manager
//! (`/dev/tpmrm0`) or to a software TPM's socket. Nothing is stored in the TPM: every key is derived from the TPM's
//! seeds by its template, or is loaded from bytes that only this TPM can read.

mod command;
mod device;
mod error;
mod keys;
mod node_tpm;
mod proof;
mod response;
mod signer;
mod templates;
mod tpm;

pub use device::{Device, Socket, Transport};
pub use error::TpmError;
pub use keys::{Key, StoredKey};
pub use node_tpm::NodeTpm;
pub use proof::TpmProof;
pub use signer::TpmSigner;
pub use templates::{Template, ek_certificate_index};
pub use tpm::{Attestation, Tpm};
