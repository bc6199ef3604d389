//! After a quote: the logs that explain it, asked for part by part, until each quoted PCR is explained or refused.

use sekisho_types::{Selector, SelectorSet, SpiffeId, UnixTime};

use super::attestor::{Conversation, NodeError, Proved, Step, VerifierInputs};
use super::kernel;
use super::tpm_messages::QUOTED_PCRS;
use super::tpm_requests::{Log, LogPart, TpmRequest};
use super::tpm_state::{BANK, KnownBoot, KnownState, KnownTpm};
use crate::boot::EventLog;
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
}

impl From<TpmError> for NodeError {
    fn from(error: TpmError) -> Self {
        Self::Refused(error.into())
    }
}

/// Of a node that has proved which TPM it has.
pub(super) fn denied(node: &SpiffeId, error: impl Into<TpmError>) -> NodeError {
    NodeError::Denied { node: node.clone(), reason: error.into().into() }
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
    id: SpiffeId,
    tpm: KnownTpm,
    resets: (u32, u32),
    pcrs: PcrValues,
    measured_at: UnixTime,
    /// The machine had an event log at its last attestation.
    had_log: bool,
    boot: Boot,
    ima: Replayed,
    /// Where the first part of the IMA log began.
    ima_began: u64,
    /// The first entry that is refused. Whether it was measured at all shows when PCR 10 has its quoted value.
    problem: Option<TpmRefusal>,
}

impl Explaining {
    /// What is left to be asked for after a quote, for a machine that was left in the state `before`.
    pub(super) fn begin(
        class: &'static Class,
        (id, tpm): (SpiffeId, KnownTpm),
        (quote, pcrs): (&StateClaims, PcrValues),
        before: Option<KnownState>,
        measured_at: UnixTime,
    ) -> Result<Step, NodeError> {
        let resets = (quote.clock.reset_count, quote.clock.restart_count);
        let had_log = before.as_ref().is_some_and(|before| before.boot.has_log);
        // After a reset, and with another attestation key, nothing that was known of PCRs and logs holds.
        let same_boot = before.filter(|before| before.resets == resets && before.tpm.ak_public == tpm.ak_public);
        let (boot, ima) = match same_boot {
            Some(before) => {
                let changed = LOGGED_PCRS.into_iter().find(|at| before.pcrs.values.get(at) != pcrs.values.get(at));
                if let Some(index) = changed {
                    return Err(denied(&id, TpmRefusal::ChangedPcr(index)));
                }
                (Boot::Known(before.boot), before.ima)
            }
            None => (Boot::Wanted(vec![]), Replayed::start(BANK)),
        };
        let ima_began = ima.bytes;
        Self { class, id, tpm, resets, pcrs, measured_at, had_log, boot, ima, ima_began, problem: None }.next()
    }

    fn next(self) -> Result<Step, NodeError> {
        let request = match &self.boot {
            Boot::Wanted(read) => TpmRequest::Log { log: Log::Event, from: read.len() as u64 },
            Boot::Known(_) if !self.is_explained() => TpmRequest::Log { log: Log::Ima, from: self.ima.bytes },
            Boot::Known(boot) => {
                let boot = *boot;
                return self.proved(boot);
            }
        };
        Ok(Step::Challenge(request.encode(), Box::new(self)))
    }

    /// Whether PCR 10 has the value that the entries so far give it. It is zero where the kernel measures nothing.
    fn is_explained(&self) -> bool {
        self.pcrs.values.get(&IMA_PCR).is_some_and(|quoted| quoted == self.ima.value())
    }

    fn take_event_log(&mut self, part: LogPart) -> Result<(), TpmRefusal> {
        let Boot::Wanted(read) = &mut self.boot else { return Ok(()) };
        let (bytes, is_last) = match part {
            LogPart::Absent => (vec![], true),
            LogPart::Last(bytes) => (bytes, true),
            LogPart::More(bytes) => (bytes, false),
        };
        if read.len() + bytes.len() > MAX_EVENT_LOG_BYTES {
            return Err(TpmRefusal::EventLogTooLong);
        }
        read.extend(bytes);
        if !is_last {
            return Ok(());
        }
        let known = if read.is_empty() {
            if self.had_log {
                return Err(TpmRefusal::EventLogGone);
            }
            KnownBoot { has_log: false, secure_boot: None }
        } else {
            let selection = PcrSelection::new(BANK, QUOTED_PCRS);
            let facts = explain_boot(&EventLog::parse(read)?, selection, &self.pcrs, &LOGGED_PCRS)?;
            KnownBoot { has_log: true, secure_boot: facts.secure_boot }
        };
        self.boot = Boot::Known(known);
        Ok(())
    }

    fn take_ima_log(&mut self, part: LogPart) -> Result<(), TpmRefusal> {
        let Self { pcrs, ima, problem, .. } = self;
        let quoted = pcrs.values.get(&IMA_PCR).ok_or(TpmRefusal::ImaNotQuoted)?;
        let (bytes, is_last) = match part {
            LogPart::Absent => return Err(TpmRefusal::NoImaLog),
            LogPart::Last(bytes) => (bytes, true),
            LogPart::More(bytes) => (bytes, false),
        };
        let before = ima.bytes;
        let matches = ima.take_part(&bytes, quoted, |entry| {
            if problem.is_none() {
                *problem = appraise_entry(entry, None).err();
            }
        })?;
        match (matches, problem.take()) {
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
        let Self { class, id, tpm, resets, pcrs, measured_at, ima, .. } = self;
        let selectors = selectors(class, &tpm, &pcrs, boot.secure_boot);
        let times = (measured_at, Some(tpm.ends_at));
        let (device, kernel) = (tpm.device(), kernel::selectors(&tpm.kernel));
        let state = KnownState { tpm, resets, pcrs, boot, ima };
        let proved = Proved::new(class, times, selectors, (id, true))?;
        Ok(Step::Proved(proved.with_kernel(kernel)?.of_device(device).remembering(state.encode())))
    }
}

impl Conversation for Explaining {
    fn go_on(mut self: Box<Self>, answer: &[u8], _: &VerifierInputs<'_>) -> Result<Step, NodeError> {
        let part = LogPart::decode(answer).ok_or_else(|| denied(&self.id, TpmError::Form))?;
        let taken = match self.boot {
            Boot::Wanted(_) => self.take_event_log(part),
            Boot::Known(_) => self.take_ima_log(part),
        };
        taken.map_err(|refusal| denied(&self.id, refusal))?;
        self.next()
    }
}

fn selectors(class: &Class, tpm: &KnownTpm, pcrs: &PcrValues, secure_boot: Option<bool>) -> SelectorSet {
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
    let secure_boot = secure_boot.map(|on| format!("secure_boot:{on}"));
    named
        .into_iter()
        .chain(quoted)
        .chain(secure_boot)
        .filter_map(|value| Selector::new(class.name, &value).ok())
        .collect()
}
