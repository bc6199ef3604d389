//! After a quote: the logs that explain it, asked for part by part, until each quoted PCR is explained or refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use sekisho_types::{Digest, Selector, SelectorSet, SpiffeId, UnixTime};

use super::attestor::{Conversation, DeniedNode, NodeError, Proved, Step, VerifierInputs};
use super::kernel;
use super::tpm_messages::QUOTED_PCRS;
use super::tpm_record::{MAX_IMA_BYTES, TpmRecord};
use super::tpm_requests::{Log, LogPart, TpmRequest};
use super::tpm_state::{BANK, JudgedBoot, KnownBoot, KnownState, KnownTpm};
use crate::boot::{BootPolicy, BootRefusal, EventLog, Quoted};
use crate::ima::{IMA_PCR, Replayed};
use crate::tpm::{CredentialError, PcrSelection, PcrValues, StateClaims, TpmRefusal, appraise_entry, explain_boot};
use crate::{Class, Malformed};

/// What only firmware and boot loaders measure into, with an event each. The running system measures into others.
pub(super) const LOGGED_PCRS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
/// Of which the parser reads no more either.
const MAX_EVENT_LOG_BYTES: usize = 4 * 1024 * 1024;
/// Of one attestation: the entries since the last one.
const MAX_IMA_MIB: u64 = 64;

/// Why a node's TPM is refused. The node learns the kind, and no value that would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmError {
    #[error("the attestation data is not of the form of `tpm`")]
    Form,
    #[error("a public area is malformed: {0}")]
    Public(#[from] Malformed),
    #[error("the TPM is a program; attest as `danger_software_tpm`, on a server that allows it")]
    Software,
    #[error("no credential can be made: {0}")]
    Credential(#[from] CredentialError),
    #[error("the answer does not show the credential's secret on this connection")]
    Activation,
    #[error(transparent)]
    Refused(#[from] TpmRefusal),
    #[error("the boot is refused: {0}")]
    Boot(#[from] BootRefusal),
}

impl TpmError {
    /// What the node hears. What a boot policy expects is not part of it.
    fn heard(&self) -> String {
        match self {
            Self::Boot(_) => "the server's boot policy does not admit how this machine booted".to_owned(),
            Self::Refused(TpmRefusal::ImaDigest { .. }) => {
                "the server's boot policy does not admit a file that this machine used".to_owned()
            }
            other => other.to_string(),
        }
    }
}

impl From<TpmError> for NodeError {
    fn from(error: TpmError) -> Self {
        Self::Refused(error.into())
    }
}

/// Of a node that has proved which TPM it has, with what it showed so far.
pub(super) fn denied(mut record: TpmRecord, error: impl Into<TpmError>) -> NodeError {
    let error = error.into();
    record.refused = Some(error.to_string());
    let (node, shown) = (record.node.clone(), Some(record.shown()));
    NodeError::Denied(Box::new(DeniedNode { node, heard: error.heard(), reason: error.into(), shown }))
}

/// Of a node that is known, and whose answer is not one.
pub(super) fn denied_unread(node: &SpiffeId) -> NodeError {
    denied_unrecorded(node, TpmError::Form)
}

/// The same without a record.
pub(super) fn denied_unrecorded(node: &SpiffeId, error: impl Into<TpmError>) -> NodeError {
    let error = error.into();
    NodeError::Denied(Box::new(DeniedNode {
        node: node.clone(),
        heard: error.heard(),
        reason: error.into(),
        shown: None,
    }))
}

/// Where the event log is.
enum Boot {
    /// What has come of it.
    Wanted(Vec<u8>),
    Known(KnownBoot),
}

/// A quote was verified, whose PCRs the logs have to explain.
pub(super) struct Explaining {
    class: &'static Class,
    tpm: KnownTpm,
    resets: (u32, u32),
    pcrs: PcrValues,
    /// What the node shows.
    record: TpmRecord,
    /// The record of its last whole attestation, if this one repeats it.
    evidence: Option<Digest>,
    /// The machine had an event log at its last attestation.
    had_log: bool,
    policy: Option<Arc<BootPolicy>>,
    boot: Boot,
    /// Where the IMA log goes on if the boot is found to be as it was judged before.
    resume: Option<(Replayed, Option<JudgedBoot>)>,
    ima: Replayed,
    /// Where the first part of the IMA log began.
    ima_began: u64,
    /// The first entry that is refused. Whether it was measured at all shows when PCR 10 has its quoted value.
    problem: Option<TpmRefusal>,
}

impl Explaining {
    /// What is left to be asked for after a quote, for a machine that was left in the state `before`. A whole
    /// attestation looks at whole logs, unless the IMA log is so long that no record holds it.
    pub(super) fn begin(
        class: &'static Class,
        tpm: KnownTpm,
        quote: &StateClaims,
        record: TpmRecord,
        policy: Option<Arc<BootPolicy>>,
        before: Option<KnownState>,
    ) -> Result<Step, NodeError> {
        // Of another hierarchy's key the counters are not the TPM's.
        if !quote.counters_are_true {
            return Err(denied(record, TpmRefusal::OtherHierarchy));
        }
        let resets = (quote.clock.reset_count, quote.clock.restart_count);
        let (pcrs, is_whole) = (record.pcrs(), record.endorsement.is_some());
        let had_log = before.as_ref().is_some_and(|before| before.boot.has_log);
        let evidence = before.as_ref().and_then(|before| before.evidence);
        let mut own = Self {
            class,
            tpm,
            resets,
            pcrs,
            record,
            evidence,
            had_log,
            policy,
            boot: Boot::Wanted(vec![]),
            resume: None,
            ima: Replayed::start(BANK),
            ima_began: 0,
            problem: None,
        };
        own.record.ima_log = Some(vec![]);
        // After a reset nothing that was known of PCRs and logs holds.
        if let Some(before) = before.filter(|before| before.resets == resets) {
            if let Err(refusal) = unchanged(&before.pcrs, &own.pcrs) {
                return Err(denied(own.record, refusal));
            }
            if !is_whole && still_holds(own.policy.as_deref(), &before, &own.pcrs, own.record.at) {
                own.boot = Boot::Known(before.boot);
                own.go_on_from(before.ima);
            } else if !is_whole || before.ima.bytes > MAX_IMA_BYTES as u64 {
                own.resume = Some((before.ima, before.boot.judged));
            }
        }
        own.next()
    }

    /// The entries before this are known.
    fn go_on_from(&mut self, ima: Replayed) {
        self.ima_began = ima.bytes;
        self.record.ima_from = Some(ima.clone());
        self.ima = ima;
    }

    fn next(self) -> Result<Step, NodeError> {
        let request = match &self.boot {
            Boot::Wanted(read) => TpmRequest::Log { log: Log::Event, from: read.len() as u64 },
            Boot::Known(_) if !self.is_explained() => TpmRequest::Log { log: Log::Ima, from: self.ima.bytes },
            Boot::Known(boot) => {
                let boot = boot.clone();
                return self.proved(boot);
            }
        };
        Ok(Step::Challenge(request.encode(), Box::new(self)))
    }

    /// Whether PCR 10 has the value that the entries so far give it. It is zero where the kernel measures nothing.
    fn is_explained(&self) -> bool {
        self.pcrs.values.get(&IMA_PCR).is_some_and(|quoted| quoted == self.ima.value())
    }

    fn take_event_log(&mut self, part: LogPart) -> Result<(), TpmError> {
        let Boot::Wanted(read) = &mut self.boot else { return Ok(()) };
        let (bytes, is_last) = match part {
            LogPart::Absent => (vec![], true),
            LogPart::Last(bytes) => (bytes, true),
            LogPart::More(bytes) => (bytes, false),
        };
        if read.len() + bytes.len() > MAX_EVENT_LOG_BYTES {
            return Err(TpmRefusal::EventLogTooLong.into());
        }
        read.extend(bytes);
        if !is_last {
            return Ok(());
        }
        let read = std::mem::take(read);
        let found = self.judged(&read);
        self.record.event_log = Some(read);
        let found = found?;
        if let Some((ima, _)) = self.resume.take().filter(|(_, before)| *before == found.judged) {
            self.go_on_from(ima);
        }
        self.boot = Boot::Known(found);
        Ok(())
    }

    /// What a whole event log states, by the boot policy if there is one. An empty one is none.
    fn judged(&self, log: &[u8]) -> Result<KnownBoot, TpmError> {
        let log = if log.is_empty() { None } else { Some(EventLog::parse(log).map_err(TpmRefusal::from)?) };
        if log.is_none() && self.had_log {
            return Err(TpmRefusal::EventLogGone.into());
        }
        if let Some(index) = first_measured(&self.pcrs).filter(|_| log.is_none()) {
            return Err(TpmRefusal::NoEventLog(index).into());
        }
        let selection = PcrSelection::new(BANK, QUOTED_PCRS);
        let facts = log.as_ref().map(|log| explain_boot(log, selection, &self.pcrs, &LOGGED_PCRS)).transpose()?;
        let judged = |policy: &Arc<BootPolicy>| {
            let admitted = policy.appraise(log.as_ref(), quoted(&self.pcrs), self.record.at)?;
            Ok::<_, BootRefusal>(JudgedBoot { policy: policy.digest, image: admitted.image })
        };
        let judged = self.policy.as_ref().map(judged).transpose()?;
        Ok(KnownBoot { has_log: log.is_some(), secure_boot: facts.and_then(|facts| facts.secure_boot), judged })
    }

    fn take_ima_log(&mut self, part: LogPart) -> Result<(), TpmRefusal> {
        let Self { pcrs, ima, problem, policy, boot, record, .. } = self;
        let quoted = pcrs.values.get(&IMA_PCR).ok_or(TpmRefusal::ImaNotQuoted)?;
        let (bytes, is_last) = match part {
            LogPart::Absent => return Err(TpmRefusal::NoImaLog),
            LogPart::Last(bytes) => (bytes, true),
            LogPart::More(bytes) => (bytes, false),
        };
        let (before, allowed) = (ima.bytes, allowed(policy.as_deref(), boot));
        let mut numbers = ima.entries..;
        let matches = ima.take_part(&bytes, quoted, |entry| {
            let number = numbers.next().unwrap_or(usize::MAX);
            if problem.is_none() {
                *problem = appraise_entry(number, entry, pcrs, allowed).err();
            }
        });
        // What is not an entry is evidence as well.
        let taken = matches.as_ref().map_or(bytes.len() as u64, |_| ima.bytes - before);
        record.add_to_ima_log(&bytes, taken);
        match (matches?, problem.take()) {
            (true, Some(problem)) => Err(problem),
            (true, None) => Ok(()),
            // A part that holds no entry makes no progress.
            (false, _) if is_last || ima.bytes == before => Err(TpmRefusal::ImaLog),
            (false, _) if ima.bytes - self.ima_began > MAX_IMA_MIB << 20 => Err(TpmRefusal::ImaLogTooLong(MAX_IMA_MIB)),
            (false, found) => {
                *problem = found;
                Ok(())
            }
        }
    }

    fn proved(self, boot: KnownBoot) -> Result<Step, NodeError> {
        let Self { class, tpm, resets, pcrs, mut record, evidence, ima, .. } = self;
        record.boot_image = boot.judged.as_ref().map(|judged| judged.image.clone());
        let selectors = selectors(class, &tpm, &pcrs, &boot);
        let times = (record.at, Some(tpm.ends_at));
        let (device, kernel) = (tpm.device(), kernel::selectors(&tpm.kernel));
        let shown = record.endorsement.is_some().then(|| record.shown());
        let evidence = shown.as_ref().map(|shown| shown.sha256).or(evidence);
        let state = KnownState { tpm, resets, pcrs, boot, ima, evidence };
        let proved = Proved::new(class, times, selectors, (record.node, true))?.with_kernel(kernel)?;
        Ok(Step::Proved(proved.of_device(device).with_shown(shown).remembering(state.encode())))
    }
}

impl Conversation for Explaining {
    fn go_on(self: Box<Self>, answer: &[u8], _: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let mut own = *self;
        let Some(part) = LogPart::decode(answer) else { return Err(denied(own.record, TpmError::Form)) };
        let taken = match own.boot {
            Boot::Wanted(_) => own.take_event_log(part),
            Boot::Known(_) => own.take_ima_log(part).map_err(TpmError::from),
        };
        match taken {
            Ok(()) => own.next(),
            Err(error) => Err(denied(own.record, error)),
        }
    }
}

/// The first PCR of the boot into which something was measured.
pub(super) fn first_measured(pcrs: &PcrValues) -> Option<u8> {
    let is_measured = |at: &u8| pcrs.values.get(at).is_some_and(|value| value.iter().any(|byte| *byte != 0));
    LOGGED_PCRS.into_iter().find(is_measured)
}

/// Refuses PCRs of the boot that are not what they were in the same boot.
fn unchanged(before: &PcrValues, now: &PcrValues) -> Result<(), TpmRefusal> {
    let changed = LOGGED_PCRS.into_iter().find(|at| before.values.get(at) != now.values.get(at));
    changed.map_or(Ok(()), |index| Err(TpmRefusal::ChangedPcr(index)))
}

/// Whether a machine can have come from one state to the other: the node was removed in between, and what is remembered
/// is of its device.
pub(super) fn follows(before: &KnownState, after: &KnownState) -> Result<(), TpmRefusal> {
    if before.boot.has_log && !after.boot.has_log {
        return Err(TpmRefusal::EventLogGone);
    }
    if before.resets == after.resets { unchanged(&before.pcrs, &after.pcrs) } else { Ok(()) }
}

const fn quoted(pcrs: &PcrValues) -> Quoted<'_> {
    Quoted { bank: pcrs.bank, values: &pcrs.values }
}

/// Whether what was found of the same boot needs no look at its log. An image's time may be over, and another policy
/// may judge otherwise.
fn still_holds(policy: Option<&BootPolicy>, before: &KnownState, pcrs: &PcrValues, now: UnixTime) -> bool {
    match (policy, &before.boot.judged) {
        (None, None) => true,
        (Some(policy), Some(JudgedBoot { policy: by, image })) => {
            let secure_boot = before.boot.secure_boot;
            policy.digest == *by && policy.still_admits(image, secure_boot, (quoted(&before.pcrs), quoted(pcrs)), now)
        }
        _ => false,
    }
}

/// The only files that may be measured, if the image that was booted states them.
fn allowed<'a>(policy: Option<&'a BootPolicy>, boot: &Boot) -> Option<&'a BTreeSet<Digest>> {
    let Boot::Known(KnownBoot { judged: Some(judged), .. }) = boot else { return None };
    policy?.image(&judged.image)?.files.as_ref()
}

fn selectors(class: &Class, tpm: &KnownTpm, pcrs: &PcrValues, boot: &KnownBoot) -> SelectorSet {
    let named = [
        format!("key_class:{}", tpm.key.as_str()),
        format!("ek:{}", tpm.ek),
        format!("manufacturer:{}", tpm.manufacturer),
        format!("model:{}", tpm.model),
        format!("version:{}", tpm.version),
    ];
    // Only what the quote covers. PCR 10 changes with each file that the kernel measures.
    let quoted = pcrs.values.iter().filter(|(index, _)| QUOTED_PCRS.contains(index) && **index != IMA_PCR);
    let quoted = quoted.map(|(index, value)| format!("pcr:{index}:{}", hex::encode(value)));
    let secure_boot = boot.secure_boot.map(|on| format!("secure_boot:{on}"));
    let image = boot.judged.as_ref().map(|judged| format!("boot_image:{}", judged.image));
    named
        .into_iter()
        .chain(quoted)
        .chain(secure_boot)
        .chain(image)
        .filter_map(|value| Selector::new(class.name, &value).ok())
        .collect()
}
