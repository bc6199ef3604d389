//! The key of a workload's SVID, where the TPM of its node holds it. The attestation key that is known of the node
//! certifies it, for one issuance.

use sekisho_types::{Digest, EntryId, UnixTime};

use super::tpm::{SOFTWARE_TPM, TPM, key_class};
use super::tpm_messages::CertifiedAnswer;
use super::tpm_state::KnownState;
use crate::Class;
use crate::tpm::{Public, TpmRefusal};

const LABEL: &[u8] = b"sekisho workload key 1";

/// Why it is not known that a key is in the TPM of its node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadKeyError {
    #[error("the node did not attest by a TPM, so nothing certifies a key in one; start its agent with `--tpm`")]
    NoTpm,
    #[error("what was kept of the node's last attestation is not readable; it must attest anew")]
    Forgotten,
    #[error("the certification of the workload's key: {0}")]
    Refused(#[from] TpmRefusal),
}

/// The issuance that a certification is for. It fits no other one: another connection has other keying material, and a
/// later measurement another time.
#[derive(Debug, Clone, Copy)]
pub struct KeyIssuance<'a> {
    pub entry: &'a EntryId,
    /// SubjectPublicKeyInfo, as the request has it.
    pub public_key: &'a [u8],
    /// When the process was measured that is to have the identity.
    pub measured_at: UnixTime,
    /// Keying material of the connection that carries the request.
    pub exporter: &'a [u8; 32],
}

impl KeyIssuance<'_> {
    /// What the certification signs beside the key's Name.
    pub fn binding(&self, ak: &Public) -> Vec<u8> {
        let digests = [&ak.name()[..], self.entry.as_str().as_bytes(), self.public_key].map(crate::sha256);
        let [ak, entry, key] = digests.each_ref().map(Digest::as_bytes);
        let at = self.measured_at.nanos().to_be_bytes();
        let parts: [&[u8]; 6] = [LABEL, ak, entry, key, &at, self.exporter];
        crate::sha256(&parts.concat()).as_bytes().to_vec()
    }
}

/// A workload's key that is in the TPM of its node. Only a verified certification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidentKey {
    class: &'static Class,
    public_key: Digest,
}

impl ResidentKey {
    /// Verifies a certification by what is `remembered` of the node, which attested by `attestor`.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(
        attestor: &str,
        remembered: Option<&str>,
        certified: &CertifiedAnswer,
        issuance: &KeyIssuance<'_>,
    ) -> Result<Self, WorkloadKeyError> {
        let class = [&TPM, &SOFTWARE_TPM].into_iter().find(|class| class.name == attestor);
        let class = class.ok_or(WorkloadKeyError::NoTpm)?;
        let known = remembered.and_then(KnownState::decode).ok_or(WorkloadKeyError::Forgotten)?;
        let ak = Public::parse(&known.tpm.ak_public).map_err(|_| WorkloadKeyError::Forgotten)?;
        let public_key = crate::sha256(issuance.public_key);
        key_class(&ak, Some(certified), &issuance.binding(&ak), &public_key)?;
        Ok(Self { class, public_key })
    }

    /// Whether it is this key (SubjectPublicKeyInfo).
    pub fn is(&self, public_key: &[u8]) -> bool {
        crate::sha256(public_key) == self.public_key
    }

    /// The class of the node's evidence that it rests on.
    pub const fn class(&self) -> &'static Class {
        self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_names_each_part_of_an_issuance() {
        let ak = |x: u8| {
            let point = [&[0, 32][..], &[x; 32], &[0, 32], &[2; 32]].concat();
            let head = [0, 0x23, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];
            Public::parse(&[&head[..], &point].concat()).unwrap()
        };
        let entry = |text: &str| EntryId::parse(text).unwrap();
        let (one, other) = (entry("e1"), entry("e2"));
        let at = UnixTime::from_nanos;
        let whole = KeyIssuance { entry: &one, public_key: &[1], measured_at: at(7), exporter: &[3; 32] };
        let all = [
            whole.binding(&ak(1)),
            whole.binding(&ak(9)),
            KeyIssuance { entry: &other, ..whole }.binding(&ak(1)),
            KeyIssuance { public_key: &[2], ..whole }.binding(&ak(1)),
            KeyIssuance { measured_at: at(8), ..whole }.binding(&ak(1)),
            KeyIssuance { exporter: &[4; 32], ..whole }.binding(&ak(1)),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn only_a_tpm_vouches_for_a_key() {
        let certified = CertifiedAnswer { public: vec![], attest: vec![], signature: vec![] };
        let entry = EntryId::parse("e1").unwrap();
        let issuance =
            KeyIssuance { entry: &entry, public_key: &[1], measured_at: UnixTime::from_nanos(7), exporter: &[3; 32] };
        let verify = |attestor, remembered| ResidentKey::verify(attestor, remembered, &certified, &issuance);
        for attestor in ["join_token", "x509pop", "tpm_devid", ""] {
            assert_eq!(verify(attestor, None), Err(WorkloadKeyError::NoTpm), "{attestor}");
        }
        assert_eq!(verify("tpm", None), Err(WorkloadKeyError::Forgotten));
        assert_eq!(verify("tpm", Some("{}")), Err(WorkloadKeyError::Forgotten));
    }
}
