//! The exchange in which a node proves itself: both sides of an attestor.

use std::sync::Arc;

use sekisho_types::{Digest, SelectorSet, Signer, SpiffeId, SpiffeIdError, TrustDomain, UnixTime};
use x509_parser::prelude::X509Certificate;

use super::kernel::KERNEL;
use crate::boot::BootPolicy;
use crate::derived::derived;
use crate::{Class, Evidence, EvidenceError, Piece};

/// The connection's keying material, and the source of nonces.
pub struct Session<'a> {
    /// Keying material that only the two ends of this connection have (RFC 8446 §7.5): a proof that covers it cannot be
    /// relayed over another one.
    pub exporter: [u8; 32],
    /// SHA-256 of the public key (SubjectPublicKeyInfo) for which the node's SVID is asked.
    pub key: Digest,
    /// Random bytes, different at each call.
    pub fresh: &'a (dyn Fn() -> [u8; 32] + Sync),
}

impl<'a> Session<'a> {
    /// `public_key`: the SubjectPublicKeyInfo of the key for which the SVID is asked.
    pub fn new(exporter: [u8; 32], public_key: &[u8], fresh: &'a (dyn Fn() -> [u8; 32] + Sync)) -> Self {
        Self { exporter, key: crate::sha256(public_key), fresh }
    }
}

/// The server's inputs for a judgement.
pub struct VerifierInputs<'a> {
    pub session: Session<'a>,
    pub trust_domain: &'a TrustDomain,
    /// Certificates of the authorities in the attestor's own file.
    pub anchors: &'a [Vec<u8>],
    /// Those of TPM manufacturers, whatever the attestor.
    pub manufacturers: &'a [Vec<u8>],
    /// What the attestor wanted to be remembered of a node when it proved itself last.
    pub remembered: &'a (dyn Fn(&SpiffeId) -> Option<String> + Sync),
    /// Whether operators may allow a device for which no authority vouches.
    pub approvals: bool,
    /// Which boots are admitted, of nodes that show how they booted. `None`: any.
    pub boot_policy: Option<&'a Arc<BootPolicy>>,
    pub now: UnixTime,
}

/// The file of authorities that an attestor's verifier asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct AnchorFile {
    /// The server's flag; the variable is `SEKISHO_` and the same in capitals.
    pub flag: &'static str,
    pub variable: &'static str,
    pub help: &'static str,
    /// What is weakened by giving it, if something is (law L16).
    pub danger: Option<&'static str>,
}

/// One way in which nodes prove themselves, as the server judges it.
pub trait NodeAttestor: Sync {
    /// Its name on the wire, and the namespace of its evidence.
    fn class(&self) -> &'static Class;

    fn anchor_file(&self) -> Option<&'static AnchorFile> {
        None
    }

    /// Takes the node's first message.
    fn begin(&self, payload: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError>;

    /// Whether what was remembered can still be read. It is the attestor's own form, perhaps of another release.
    fn reads(&self, _remembered: &str) -> bool {
        true
    }

    /// Whether what was proved can follow what was remembered of the same device when its node was removed. Nothing
    /// excuses a node from it: neither its removal nor another key.
    ///
    /// # Errors
    /// [`NodeError::Forgotten`] if it cannot be read, which never counts as nothing.
    fn follows(&self, _before: &str, _proved: &Proved) -> Result<(), NodeError> {
        Ok(())
    }

    /// Asks a node that proved itself whether its state still holds, by what was remembered. `None`: nodes of this
    /// attestor prove themselves in full each time.
    fn again(&self, _node: &SpiffeId, _given: &VerifierInputs<'_>) -> Option<Result<Step, NodeError>> {
        None
    }

    /// What was remembered, with a key of no device in the place of the node's: by it, every answer is that of another
    /// device. For drills. `None`: nodes of this attestor show no state.
    fn as_of_another(&self, _remembered: &str) -> Option<String> {
        None
    }

    /// The SHA-256 of what the node showed when it proved itself in full the last time, by what was remembered.
    fn shown(&self, _remembered: &str) -> Option<Digest> {
        None
    }
}

/// What the server does next.
pub enum Step {
    /// It sends this, and waits for the answer.
    Challenge(Vec<u8>, Box<dyn Conversation>),
    /// It spends a single-use secret by one atomic write (law L4), which returns the secret's owner.
    Spend(OneTime),
    /// It goes on if an operator has allowed the device.
    Approval(Unvouched),
    Proved(Proved),
}

/// What a node proves itself by, if that is a device with a key of its own, or a certificate. It is one node
/// permanently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// SHA-256 of its public key; of a certificate, of what its authority signed.
    pub key: Digest,
    /// What it states about itself, for operators.
    pub about: String,
}

/// A device that has shown that it holds its key, and for which no authority vouches.
pub struct Unvouched {
    pub device: Device,
    pub(super) then: Box<dyn FnOnce() -> Result<Step, NodeError> + Send>,
}

impl Device {
    /// A certificate, by what was signed of it. Its fingerprint does not name it: of an ECDSA signature anyone can make
    /// another one that is valid too, with (r, n − s).
    pub(super) fn certificate(certificate: &X509Certificate<'_>) -> Self {
        let signed = certificate.tbs_certificate.as_ref();
        Self { key: crate::sha256(signed), about: format!("certificate of {}", certificate.subject()) }
    }
}

impl Unvouched {
    /// An operator vouches for it.
    pub fn approved(self) -> Result<Step, NodeError> {
        (self.then)()
    }
}

/// A conversation that waits for the node's answer.
pub trait Conversation: Send + Sync {
    fn go_on(self: Box<Self>, answer: &[u8], given: &VerifierInputs<'_>) -> Result<Step, NodeError>;
}

/// The agent's side of one attestor.
pub trait NodeProof: Send + Sync {
    fn class(&self) -> &'static Class;

    /// A new key for the node's SVID, where the proof has one that cannot leave the hardware. It is asked for before
    /// the first message; what follows is about this key.
    fn key(&self) -> Result<Option<HardwareKey>, NodeError> {
        Ok(None)
    }

    /// The first message.
    fn payload(&self, session: &Session<'_>) -> Result<Vec<u8>, NodeError>;

    /// The answer to a challenge.
    fn answer(&self, challenge: &[u8], session: &Session<'_>) -> Result<Vec<u8>, NodeError>;

    /// Its single-use part: after a refusal it is not sent again.
    fn one_time(&self) -> Option<Digest> {
        None
    }

    /// Whether the node can prove itself again at any time. Servers do not renew the SVID of such a node.
    fn can_repeat(&self) -> bool;
}

/// A key in the node's hardware.
#[derive(Clone)]
pub struct HardwareKey {
    pub signer: Arc<dyn Signer>,
    /// From what the same hardware has the key again, and no other.
    pub stored: Vec<u8>,
}

/// Why a node is refused, or cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// By the rules of its attestor.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// The node proved which one it is, and the state that it shows is refused.
    #[error("{}", .0.reason)]
    Denied(Box<DeniedNode>),
    #[error("what was kept of the node's last attestation is not readable; it must attest anew")]
    Forgotten,
    #[error("node attestation by {0} is not set up here (`--{1}`)")]
    Off(&'static str, &'static str),
    #[error("the agent's ID cannot be formed: {0}")]
    AgentId(#[from] SpiffeIdError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("the server sent a challenge to {0}")]
    NoChallenge(&'static str),
}

/// A node that has proved which one it is, and whose state is refused.
#[derive(Debug)]
pub struct DeniedNode {
    pub node: SpiffeId,
    /// In full, for administrators.
    pub reason: Box<dyn std::error::Error + Send + Sync>,
    /// What the node hears. It holds no value that would pass.
    pub heard: String,
    /// What it showed, if its attestor keeps that.
    pub shown: Option<Arc<ShownEvidence>>,
}

/// What a node showed, as a file by which it can be verified again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownEvidence {
    pub file: Vec<u8>,
    /// SHA-256 of the file. Records of the log name it by that.
    pub sha256: Digest,
    /// By which boot policy it was judged: the SHA-256 of its text.
    pub boot_policy: Option<Digest>,
    /// The image of that policy that the node booted.
    pub boot_image: Option<String>,
}

/// A node that has proved who it is.
#[derive(Debug, Clone)]
pub struct Proved {
    id: SpiffeId,
    evidence: Evidence,
    can_reattest: bool,
    remembers: Option<String>,
    device: Option<Device>,
    endorsement: Option<Digest>,
    shown: Option<Arc<ShownEvidence>>,
}

impl Proved {
    pub(super) fn new(
        class: &'static Class,
        (measured_at, ends_at): (UnixTime, Option<UnixTime>),
        selectors: SelectorSet,
        (id, can_reattest): (SpiffeId, bool),
    ) -> Result<Self, NodeError> {
        let evidence = one_piece(class, measured_at, ends_at, selectors)?;
        Ok(Self { id, evidence, can_reattest, remembers: None, device: None, endorsement: None, shown: None })
    }

    pub(super) fn of_device(self, device: Device) -> Self {
        Self { device: Some(device), ..self }
    }

    /// It is in a TPM with this endorsement key, whose SHA-256 this is, and the node is not bound to that TPM.
    pub(super) fn within(self, endorsement: Digest) -> Self {
        Self { endorsement: Some(endorsement), ..self }
    }

    pub(super) fn with_shown(self, shown: Option<Arc<ShownEvidence>>) -> Self {
        Self { shown, ..self }
    }

    pub(super) fn remembering(self, text: String) -> Self {
        Self { remembers: Some(text), ..self }
    }

    /// With the state of its kernel, measured at the same time.
    pub(super) fn with_kernel(self, selectors: SelectorSet) -> Result<Self, NodeError> {
        let measured = self.evidence.pieces().first().map(|piece| (piece.measured_at(), piece.ends_at()));
        match measured.filter(|_| !selectors.is_empty()) {
            Some((measured_at, ends_at)) => {
                let kernel = one_piece(&KERNEL, measured_at, ends_at, selectors)?;
                Ok(Self { evidence: self.evidence.with(kernel)?, ..self })
            }
            None => Ok(self),
        }
    }

    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub const fn can_reattest(&self) -> bool {
        self.can_reattest
    }

    /// The device that is this node permanently.
    pub const fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }

    /// The endorsement key of the TPM that the node's key is in, where the node is another device.
    pub const fn endorsement(&self) -> Option<Digest> {
        self.endorsement
    }

    /// What the node showed, where its attestor keeps that.
    pub const fn shown(&self) -> Option<&Arc<ShownEvidence>> {
        self.shown.as_ref()
    }

    /// What its attestor needs when the node proves itself again. It is the attestor's own form.
    pub fn remembers(&self) -> Option<&str> {
        self.remembers.as_deref()
    }
}

/// A single-use secret.
#[derive(Debug)]
pub struct OneTime {
    class: &'static Class,
    hash: Digest,
}

impl OneTime {
    pub(super) const fn new(class: &'static Class, hash: Digest) -> Self {
        Self { class, hash }
    }

    /// The key under which it is stored.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// It was spent just now, and was made for this agent.
    pub fn spent(self, agent: SpiffeId, now: UnixTime) -> Result<Proved, NodeError> {
        Proved::new(self.class, (now, None), SelectorSet::new(), (agent, false))
    }
}

/// Evidence of a node, with the claims that follow from its selectors.
pub(super) fn one_piece(
    class: &'static Class,
    measured_at: UnixTime,
    ends_at: Option<UnixTime>,
    selectors: SelectorSet,
) -> Result<Evidence, EvidenceError> {
    let mut evidence = Evidence::none();
    let claims = derived(class, &selectors)?;
    evidence.add(Piece::seal(class, measured_at, ends_at, selectors, claims)?)?;
    Ok(evidence)
}
