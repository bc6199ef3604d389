//! The events. To add one: declare it here, with what it counts, and construct it where it happens.
//!
//! What earlier releases wrote stays readable: a member that a release added is an `Option`, as is one that a release
//! dropped.

use std::sync::Arc;

use sekisho_identity::{Entry, Slot};
use sekisho_types::{Digest, EntryId, EvidenceClass, SpiffeId, UnixTime};

use crate::declare::events;
use crate::personal::Personal;
use crate::settings::SettingList;
use crate::words::{AlertId, AttestationId, IssuanceId, IssuanceIds, LostSince, RefusalId, Selectors, TokenId};

events! {
    /// a node proved what it is
    Attested = "attestation" => Attestations {
        agent: Personal<SpiffeId>,
        attestor: String,
        boot_image: Option<String>,
        boot_policy_sha256: Option<Digest>,
        evidence_sha256: Option<Digest>,
        id: AttestationId,
        tls_group: String,
    }
    /// a node proved which one it is, and its state was refused; it is no longer attested
    AttestationDenied = "attestation-denied" => AttestationsDenied {
        agent: Personal<SpiffeId>,
        attestor: String,
        boot_policy_sha256: Option<Digest>,
        evidence_sha256: Option<Digest>,
        good_at: Option<UnixTime>,
        id: AlertId,
        reason: Personal<String>,
    }
    /// an operator played an attack with the answers of a node; without a reason it was not refused
    DrillPlayed = "drill" => DrillsPlayed {
        agent: Personal<SpiffeId>,
        by: Personal<String>,
        drill: String,
        id: AlertId,
        reason: Option<Personal<String>>,
    }
    /// an X.509-SVID was issued
    X509Issued = "issuance", what = "x509-svid" => X509SvidsIssued {
        attestors: String,
        authority: String,
        caller: Personal<String>,
        entry: Option<EntryId>,
        evidence: EvidenceClass,
        id: IssuanceId,
        not_after: UnixTime,
        selectors: Personal<Selectors>,
        spiffe_id: Personal<SpiffeId>,
        tbs_sha256: Digest,
    }
    /// a JWT-SVID was issued
    JwtIssued = "issuance", what = "jwt-svid" => JwtSvidsIssued {
        attestors: String,
        audience: Personal<String>,
        caller: Personal<String>,
        entry: Option<EntryId>,
        evidence: EvidenceClass,
        id: IssuanceId,
        key_id: String,
        not_after: UnixTime,
        selectors: Personal<Selectors>,
        spiffe_id: Personal<SpiffeId>,
        tbs_sha256: Digest,
    }
    /// handshakes were refused for one reason; the caller is the first of them
    HandshakesRefused = "refusal", what = "handshakes" => Refusals(count) {
        caller: Personal<String>,
        count: u64,
        id: RefusalId,
        reason: Personal<String>,
    }
    /// a caller was refused; `withdrawn` names issuances that were recorded and did not leave
    Refused = "refusal" => Refusals, Withdrawals(withdrawn) {
        caller: Personal<String>,
        id: RefusalId,
        reason: Personal<String>,
        withdrawn: Option<IssuanceIds>,
    }
    /// an entry was created
    EntryCreated = "entry-change", event = "created" => EntriesCreated {
        after: Option<Personal<Arc<Entry>>>,
        by: Personal<String>,
        entry: EntryId,
        registration: Option<Personal<String>>,
    }
    /// an entry was changed
    EntryUpdated = "entry-change", event = "updated" => EntriesUpdated {
        after: Option<Personal<Arc<Entry>>>,
        before: Option<Personal<Arc<Entry>>>,
        by: Personal<String>,
        entry: EntryId,
        registration: Option<Personal<String>>,
    }
    /// an entry was deleted
    EntryDeleted = "entry-change", event = "deleted" => EntriesDeleted {
        before: Option<Personal<Arc<Entry>>>,
        by: Personal<String>,
        entry: EntryId,
    }
    /// an entry that had expired was deleted by retention
    EntryForgotten = "entry-change", event = "forgotten" => EntriesForgotten {
        before: Option<Personal<Arc<Entry>>>,
        by: Personal<String>,
        entry: EntryId,
        registration: Option<Personal<String>>,
    }
    /// an agent was banned
    AgentBanned = "agent-change", event = "banned" => AgentsBanned {
        agent: Personal<SpiffeId>,
        by: Personal<String>,
    }
    /// an agent was evicted
    AgentEvicted = "agent-change", event = "evicted" => AgentsEvicted {
        agent: Personal<SpiffeId>,
        by: Personal<String>,
    }
    /// an agent whose SVID had expired was deleted by retention
    AgentForgotten = "agent-change", event = "forgotten" => AgentsForgotten {
        agent: Personal<SpiffeId>,
        by: Personal<String>,
    }
    /// a join token was created
    TokenCreated = "token-change", event = "created" => TokensCreated {
        agent: Option<Personal<SpiffeId>>,
        by: Personal<String>,
        expires_at: UnixTime,
        token: Option<TokenId>,
    }
    /// a join token was used: its node has proved to be the agent
    TokenUsed = "token-change", event = "used" => TokensUsed {
        agent: Personal<SpiffeId>,
        token: TokenId,
    }
    /// a join token was revoked
    TokenRevoked = "token-change", event = "revoked" => TokensRevoked {
        by: Personal<String>,
        token: TokenId,
    }
    /// an operator allowed a device for which no configured authority vouches
    DeviceApproved = "device-change", event = "approved" => DeviceChanges {
        by: Personal<String>,
        device: Digest,
    }
    /// an operator no longer allows a device
    DeviceApprovalWithdrawn = "device-change", event = "approval withdrawn" => DeviceChanges {
        by: Personal<String>,
        device: Digest,
    }
    /// an authority was created
    AuthorityCreated = "key-event", event = "created" => KeyEvents {
        authority: String,
        key_id: String,
        not_after: UnixTime,
        slot: Slot,
    }
    /// an authority began to sign
    AuthorityActivated = "key-event", event = "activated" => KeyEvents {
        authority: String,
    }
    /// an authority left the bundle
    AuthorityRemoved = "key-event", event = "removed" => KeyEvents {
        authority: String,
    }
    /// a rotation of authorities failed
    RotationFailed = "key-event", event = "rotation failed" => KeyEvents {
    }
    /// the clock was further ahead than the server believes
    ClockAhead = "key-event", event = "clock ahead of belief" => KeyEvents {
        seconds: i64,
    }
    /// openings of old leaves were erased
    OpeningsErased = "key-event", event = "openings erased" => KeyEvents {
        entries: u64,
    }
    /// the log goes on under a new origin after a restore
    LogContinued = "key-event", event = "log continued after a restore" => KeyEvents {
        old_origin: String,
        old_root: Digest,
        old_size: u64,
        reason: String,
    }
    /// an older copy of the log was accepted; without the earlier origin in releases before new origins
    OlderLogAccepted = "key-event", event = "danger: older log accepted" => KeyEvents {
        old_origin: Option<String>,
        old_root: Option<Digest>,
        old_size: Option<u64>,
        reason: String,
    }
    /// an older database was accepted
    OlderStateAccepted = "key-event", event = "danger: older state accepted" => KeyEvents {
        held_revision: u64,
        logged_revision: u64,
    }
    /// an agent has applied a later revision of the state than the server has
    AgentAhead = "key-event", event = "an agent has applied a later revision of the state" => KeyEvents {
        agent: Personal<SpiffeId>,
        applied_revision: u64,
        held_revision: u64,
    }
    /// a policy came into force
    PolicyApplied = "policy-revision" => PolicyRevisions {
        by: Personal<String>,
        digest: Digest,
        revision: u64,
    }
    /// settings of the server are not those of its last start, or it started for the first time
    SettingsChanged = "settings" => SettingsChanges {
        after: SettingList,
        before: Option<SettingList>,
    }
    /// a batch of decisions and refusals made on a node, by the root of its Merkle tree
    DecisionsRecorded = "decision-batch" => RecordsTaken(count) {
        count: u64,
        first: u64,
        reporter: Personal<String>,
        root: Digest,
    }
    /// refusals were counted only; of one caller, or of many
    RefusalsCounted = "gap", what = "refusals" => Refusals(lost) {
        caller: Option<Personal<String>>,
        lost: u64,
    }
    /// records of a node were lost
    RecordsLost = "gap" => RecordsLost(lost) {
        lost: u64,
        reporter: Personal<String>,
        what: Option<LostSince>,
    }
    /// an operator revoked the SVIDs of an entry
    EntryRevoked = "revocation", what = "entry" => Revocations {
        by: Personal<String>,
        entry: EntryId,
        reason: Personal<String>,
        until: UnixTime,
    }
    /// an operator revoked the SVIDs of an agent, and all that it asked for
    AgentRevoked = "revocation", what = "agent" => Revocations {
        agent: Personal<SpiffeId>,
        by: Personal<String>,
        reason: Personal<String>,
        until: UnixTime,
    }
    /// an operator revoked the SVIDs of a SPIFFE ID
    IdRevoked = "revocation", what = "spiffe_id" => Revocations {
        by: Personal<String>,
        reason: Personal<String>,
        spiffe_id: Personal<SpiffeId>,
        until: UnixTime,
    }
    /// an operator revoked one X.509-SVID
    SerialRevoked = "revocation", what = "serial" => Revocations {
        by: Personal<String>,
        reason: Personal<String>,
        serial: String,
        until: UnixTime,
    }
}
