//! The commands (TPM 2.0 Library, part 3).

use std::time::Duration;

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::tpm::{Attributes, PcrSelection, PcrValues, Public};
use sekisho_types::Secret;

use crate::command::Command;
use crate::device::Transport;
use crate::error::TpmError;
use crate::keys::{Key, StoredKey};
use crate::response::{Answer, Response};
use crate::templates::{Template, ek_certificate_index};

const OWNER: u32 = 0x4000_0001;
const ENDORSEMENT: u32 = 0x4000_000b;
const NULL_HANDLE: u32 = 0x4000_0007;
const NULL: u16 = 0x0010;
const POLICY_SESSION: u8 = 1;
/// Codes of a TPM that asks for patience: RETRY, YIELDED, TESTING.
const TRY_AGAIN: [u32; 3] = [0x922, 0x908, 0x90a];
const ATTEMPTS: u32 = 12;
/// What every TPM returns of NV memory at once (`TPM_PT_NV_BUFFER_MAX` is at least 512).
const NV_BLOCK: u16 = 512;
const MAX_CERTIFICATE: u16 = 8192;
/// A PCR read returns at most eight values.
const PCRS_AT_ONCE: usize = 8;

/// An attestation structure and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// `TPMS_ATTEST`
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`
    pub signature: Vec<u8>,
}

/// A TPM behind a transport. Commands run one after the other.
pub struct Tpm {
    transport: Box<dyn Transport>,
}

impl Tpm {
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self { transport: Box::new(transport) }
    }

    fn run(&mut self, command: &Command) -> Result<Response, TpmError> {
        self.run_for(command, false).map(|(response, _)| response)
    }

    fn run_for_handle(&mut self, command: &Command) -> Result<(Response, u32), TpmError> {
        self.run_for(command, true)
    }

    fn run_for(&mut self, command: &Command, has_handle: bool) -> Result<(Response, u32), TpmError> {
        let bytes = command.encode()?;
        for attempt in 0..ATTEMPTS {
            let response = self.transport.transact(&bytes)?;
            match Response::split(command.name, response, has_handle, command.has_sessions())? {
                (Answer::Success(response), handle) => return Ok((response, handle)),
                (Answer::Code(code), _) if TRY_AGAIN.contains(&code) => {
                    // 1 ms to 1 s, 4 s in all.
                    std::thread::sleep(Duration::from_millis(1 << attempt.min(10)));
                }
                (Answer::Code(code), _) => return Err(TpmError::Refused { command: command.name, code }),
            }
        }
        Err(TpmError::Busy)
    }

    /// Makes a primary key: an endorsement key or the attestation key in the endorsement hierarchy, the storage root
    /// in the owner's.
    ///
    /// # Errors
    /// A hierarchy with an authorization value or a template that this TPM does not support.
    pub fn primary(&mut self, template: Template) -> Result<Key, TpmError> {
        let hierarchy = if template == Template::StorageRoot { OWNER } else { ENDORSEMENT };
        let command = Command::new("TPM2_CreatePrimary", 0x131)
            .authorized(hierarchy)
            // No authorization value and no data for the new key.
            .sized(&[0, 0, 0, 0])
            .sized(&template.public())
            .sized(&[])
            .u32(0);
        let (mut response, handle) = self.run_for_handle(&command)?;
        let public = response.sized()?;
        key("TPM2_CreatePrimary", handle, public)
    }

    /// Makes a key below `parent`. Nothing stays in the TPM.
    ///
    /// # Errors
    /// A parent that is not a storage key.
    pub fn create(&mut self, parent: &Key, template: Template) -> Result<StoredKey, TpmError> {
        self.create_with(parent, template, &[])
    }

    /// Encrypts a secret of at most 128 bytes so that only this TPM reads it.
    ///
    /// # Errors
    /// A parent that is not a storage key, or a longer secret.
    pub fn seal(&mut self, parent: &Key, secret: &Secret<Vec<u8>>) -> Result<StoredKey, TpmError> {
        self.create_with(parent, Template::Sealed, secret.expose())
    }

    fn create_with(&mut self, parent: &Key, template: Template, secret: &[u8]) -> Result<StoredKey, TpmError> {
        let length = u16::try_from(secret.len()).map_err(|_| TpmError::TooLong("TPM2_Create"))?;
        // No authorization value, and what the new object holds.
        let sensitive = Secret::new([&[0, 0][..], &length.to_be_bytes(), secret].concat());
        let command = Command::new("TPM2_Create", 0x153)
            .authorized(parent.handle)
            .sized(sensitive.expose())
            .sized(&template.public())
            .sized(&[])
            .u32(0);
        let mut response = self.run(&command)?;
        Ok(StoredKey { private: response.sized()?, public: response.sized()? })
    }

    /// Loads a key that was made below `parent`.
    ///
    /// # Errors
    /// A key of another TPM, of another parent, or one whose bytes were changed.
    pub fn load(&mut self, parent: &Key, stored: &StoredKey) -> Result<Key, TpmError> {
        let handle = self.load_handle(parent, stored)?;
        key("TPM2_Load", handle, stored.public.clone())
    }

    fn load_handle(&mut self, parent: &Key, stored: &StoredKey) -> Result<u32, TpmError> {
        let command =
            Command::new("TPM2_Load", 0x157).authorized(parent.handle).sized(&stored.private).sized(&stored.public);
        self.run_for_handle(&command).map(|(_, handle)| handle)
    }

    /// Reads a secret that was sealed below `parent`.
    ///
    /// # Errors
    /// A secret of another TPM or another parent, or bytes that were changed.
    pub fn unseal(&mut self, parent: &Key, stored: &StoredKey) -> Result<Secret<Vec<u8>>, TpmError> {
        let handle = self.load_handle(parent, stored)?;
        let secret = self.run(&Command::new("TPM2_Unseal", 0x15e).authorized(handle));
        self.flush_handle(handle)?;
        secret?.sized().map(Secret::new)
    }

    /// Removes a key from the TPM's memory.
    ///
    /// # Errors
    /// A key that is not loaded.
    pub fn flush(&mut self, key: Key) -> Result<(), TpmError> {
        self.flush_handle(key.handle)
    }

    fn flush_handle(&mut self, handle: u32) -> Result<(), TpmError> {
        self.run(&Command::new("TPM2_FlushContext", 0x165).u32(handle)).map(drop)
    }

    /// Decrypts a credential that was made for `endorsement` and the Name of `attestation`.
    ///
    /// # Errors
    /// A credential for another TPM or another key (code 0x1df).
    pub fn activate_credential(
        &mut self,
        endorsement: &Key,
        attestation: &Key,
        credential: &[u8],
        encrypted_seed: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let command = Command::new("TPM2_ActivateCredential", 0x147).authorized(attestation.handle);
        let finish = |command: Command| command.sized(credential).sized(encrypted_seed);
        // Keys of the high range are authorized by their empty value, those of the low range by their policy.
        if endorsement.public.attributes.has(Attributes::USER_WITH_AUTH) {
            return self.run(&finish(command.authorized(endorsement.handle)))?.sized();
        }
        let session = self.endorsement_session(endorsement.public.name_algorithm)?;
        let answer = self.run(&finish(command.by_policy(endorsement.handle, session)));
        self.flush_handle(session)?;
        answer?.sized()
    }

    /// A policy session that satisfies the endorsement key's policy: the endorsement hierarchy's secret.
    fn endorsement_session(&mut self, hash: HashAlgorithm) -> Result<u32, TpmError> {
        let command = Command::new("TPM2_StartAuthSession", 0x176)
            .handle(NULL_HANDLE)
            .handle(NULL_HANDLE)
            // The nonce protects HMACs, of which this session has none.
            .sized(&[0; 16])
            .sized(&[])
            .bytes(&[POLICY_SESSION])
            .u16(NULL)
            .u16(hash.id());
        let (_, session) = self.run_for_handle(&command)?;
        let command = Command::new("TPM2_PolicySecret", 0x151)
            .authorized(ENDORSEMENT)
            .handle(session)
            .sized(&[])
            .sized(&[])
            .sized(&[])
            .u32(0);
        match self.run(&command) {
            Ok(_) => Ok(session),
            Err(error) => {
                self.flush_handle(session)?;
                Err(error)
            }
        }
    }

    /// Signs the selected PCRs' digest together with `nonce`.
    ///
    /// # Errors
    /// A key that may not sign, or a nonce of more than 64 bytes.
    pub fn quote(&mut self, key: &Key, nonce: &[u8], selection: PcrSelection) -> Result<Attestation, TpmError> {
        let command = Command::new("TPM2_Quote", 0x158)
            .authorized(key.handle)
            .sized(nonce)
            .u16(NULL)
            .bytes(&pcr_selection(selection));
        attestation(self.run(&command)?)
    }

    /// Has `by` sign the Name of `key`.
    ///
    /// # Errors
    /// A key that may not sign.
    pub fn certify(&mut self, key: &Key, by: &Key, nonce: &[u8]) -> Result<Attestation, TpmError> {
        let command =
            Command::new("TPM2_Certify", 0x148).authorized(key.handle).authorized(by.handle).sized(nonce).u16(NULL);
        attestation(self.run(&command)?)
    }

    /// Signs a digest with a key that is not restricted. Returns a `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// A digest of another length than the key's hash.
    pub fn sign(&mut self, key: &Key, digest: &[u8]) -> Result<Vec<u8>, TpmError> {
        // A ticket of the null hierarchy: the digest was made outside.
        let command = Command::new("TPM2_Sign", 0x15d)
            .authorized(key.handle)
            .sized(digest)
            .u16(NULL)
            .u16(0x8024)
            .u32(NULL_HANDLE)
            .sized(&[]);
        Ok(self.run(&command)?.remaining())
    }

    /// Reads PCRs of one bank. Values may change between two reads; a quote does not.
    ///
    /// # Errors
    /// A bank that this TPM does not have.
    pub fn read_pcrs(&mut self, selection: PcrSelection) -> Result<PcrValues, TpmError> {
        let indices: Vec<u8> = selection.indices().collect();
        let mut values = std::collections::BTreeMap::new();
        for some in indices.chunks(PCRS_AT_ONCE) {
            let part = PcrSelection::new(selection.bank, some.iter().copied());
            let command = Command::new("TPM2_PCR_Read", 0x17e).bytes(&pcr_selection(part));
            let mut response = self.run(&command)?;
            response.u32()?;
            let banks = response.u32()?;
            for _ in 0..banks.min(16) {
                response.u16()?;
                let length = usize::from(response.u8()?);
                response.taken(length)?;
            }
            let count = response.u32()?;
            for index in some.iter().take(usize::try_from(count).unwrap_or_default()) {
                values.insert(*index, response.sized()?);
            }
        }
        Ok(PcrValues { bank: selection.bank, values })
    }

    /// The certificate of an endorsement key, from NV memory. `None` if its manufacturer put none there.
    ///
    /// # Errors
    /// An index that cannot be read, or a certificate of more than 8,192 bytes.
    pub fn ek_certificate(&mut self, template: Template) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(index) = ek_certificate_index(template) else { return Ok(None) };
        let command = Command::new("TPM2_NV_ReadPublic", 0x169).handle(index);
        let public = match self.run(&command) {
            Ok(mut response) => response.sized()?,
            // There is no such index.
            Err(TpmError::Refused { code, .. }) if code & 0x0bf == 0x08b => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = public.last_chunk::<2>().map_or(0, |size| u16::from_be_bytes(*size));
        if size > MAX_CERTIFICATE {
            return Err(TpmError::TooLong("TPM2_NV_Read"));
        }
        let mut certificate = Vec::new();
        let mut offset = 0;
        while offset < size {
            let length = NV_BLOCK.min(size - offset);
            let command = Command::new("TPM2_NV_Read", 0x14e).authorized(index).handle(index).u16(length).u16(offset);
            certificate.extend(self.run(&command)?.sized()?);
            offset += length;
        }
        trim_der(&mut certificate);
        Ok(Some(certificate))
    }
}

fn key(command: &'static str, handle: u32, public_bytes: Vec<u8>) -> Result<Key, TpmError> {
    let public = Public::parse(&public_bytes).map_err(|error| TpmError::Answer { command, error })?;
    Ok(Key { handle, public, public_bytes })
}

fn attestation(mut response: Response) -> Result<Attestation, TpmError> {
    Ok(Attestation { attest: response.sized()?, signature: response.remaining() })
}

/// `TPML_PCR_SELECTION` of one bank.
fn pcr_selection(selection: PcrSelection) -> Vec<u8> {
    let bits = selection.indices().fold(0u32, |bits, index| bits | 1 << index);
    let [first, second, third, _] = bits.to_le_bytes();
    let mut out = 1u32.to_be_bytes().to_vec();
    out.extend(selection.bank.id().to_be_bytes());
    out.extend([3, first, second, third]);
    out
}

/// Cuts the padding that some manufacturers leave after a certificate.
fn trim_der(certificate: &mut Vec<u8>) {
    if let [0x30, 0x82, high, low, ..] = certificate.as_slice() {
        certificate.truncate(usize::from(u16::from_be_bytes([*high, *low])) + 4);
    }
}
