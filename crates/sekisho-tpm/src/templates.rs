//! Templates of the keys that attestation uses. A template and the TPM's seed give the same key again after each boot.

use sekisho_evidence::tpm::ENDORSEMENT_POLICY;

const NULL: u16 = 0x0010;
const SHA256: u16 = 0x000b;
const SHA384: u16 = 0x000c;
const AES: u16 = 0x0006;
const CFB: u16 = 0x0043;
const ECDSA: u16 = 0x0018;
const P256: u16 = 0x0003;
const P384: u16 = 0x0004;
const RSA_KEY: u16 = 0x0001;
const ECC_KEY: u16 = 0x0023;
const KEYED_HASH: u16 = 0x0008;

/// `TPM2_PolicyOR` of the endorsement hierarchy's secret and the owner's policy, SHA-384 (template H-3).
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];
/// What makes our attestation key another one than those of other programs, for the `unique` field.
const AK_LABEL: &[u8] = b"sekisho attestation key 1";

/// A key by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Endorsement key, RSA of 2,048 bits (TCG template L-1).
    EkRsa2048,
    /// Endorsement key on P-256 (L-2).
    EkP256,
    /// Endorsement key on P-384 (H-3).
    EkP384,
    /// Attestation key on P-256: it signs only what the TPM made.
    Attestation,
    /// Storage root on P-256, the parent of keys that are kept outside.
    StorageRoot,
    /// A key on P-256 that signs for an SVID, below the storage root.
    Svid,
    /// A secret that the TPM only returns, below the storage root.
    Sealed,
}

/// The NV index of the certificate of this endorsement key (EK Credential Profile, §2.2.1.4 and §2.2.1.5).
pub const fn ek_certificate_index(template: Template) -> Option<u32> {
    match template {
        Template::EkRsa2048 => Some(0x01c0_0002),
        Template::EkP256 => Some(0x01c0_000a),
        Template::EkP384 => Some(0x01c0_0016),
        Template::Attestation | Template::StorageRoot | Template::Svid | Template::Sealed => None,
    }
}

impl Template {
    /// `TPMT_PUBLIC`, as `TPM2_CreatePrimary` and `TPM2_Create` take it. Our own keys have no authorization values, so
    /// they are exempt from the TPM's lockout (noDA): it also counts each loss of power after such a key was used.
    pub(crate) fn public(self) -> Vec<u8> {
        let storage = |bits| words(&[AES, bits, CFB, NULL]);
        match self {
            Self::EkRsa2048 => [
                head(RSA_KEY, SHA256, 0x0003_00b2, &ENDORSEMENT_POLICY),
                storage(128),
                words(&[2048, 0, 0]),
                sized(&[0; 256]),
            ]
            .concat(),
            Self::EkP256 => {
                [head(ECC_KEY, SHA256, 0x0003_00b2, &ENDORSEMENT_POLICY), storage(128), point(P256, &[0; 32], &[0; 32])]
                    .concat()
            }
            Self::EkP384 => {
                [head(ECC_KEY, SHA384, 0x0003_00f2, &POLICY_B_SHA384), storage(256), point(P384, &[], &[])].concat()
            }
            Self::Attestation => {
                [head(ECC_KEY, SHA256, 0x0005_0472, &[]), signing(), point(P256, AK_LABEL, &[])].concat()
            }
            Self::StorageRoot => {
                [head(ECC_KEY, SHA256, 0x0003_0472, &[]), storage(128), point(P256, &[0; 32], &[0; 32])].concat()
            }
            Self::Svid => [head(ECC_KEY, SHA256, 0x0004_0472, &[]), signing(), point(P256, &[], &[])].concat(),
            Self::Sealed => [head(KEYED_HASH, SHA256, 0x0000_0452, &[]), words(&[NULL]), sized(&[])].concat(),
        }
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}

fn head(kind: u16, name_algorithm: u16, attributes: u32, policy: &[u8]) -> Vec<u8> {
    [words(&[kind, name_algorithm]), attributes.to_be_bytes().to_vec(), sized(policy)].concat()
}

/// No symmetric algorithm; ECDSA with SHA-256.
fn signing() -> Vec<u8> {
    words(&[NULL, ECDSA, SHA256])
}

/// A curve without a key derivation, and what is in `unique`.
fn point(curve: u16, x: &[u8], y: &[u8]) -> Vec<u8> {
    [words(&[curve, NULL]), sized(x), sized(y)].concat()
}
