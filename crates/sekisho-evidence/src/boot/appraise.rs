//! Judges a boot: its log's events against those of the images that the policy admits.

use std::collections::BTreeMap;

use sekisho_types::{Digest, UnixTime};

use super::policy::{AdmittedImage, BootPolicy, surrounds_applications};
use super::predict::SECTIONS_PCR;
use super::{BootFacts, Event, EventLog, ReplayError};
use crate::hash::HashAlgorithm;

/// Values of PCRs of one bank that a verified quote covers.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a> {
    pub bank: HashAlgorithm,
    pub values: &'a BTreeMap<u8, Vec<u8>>,
}

/// What systemd measures into PCR 11 while it starts, in this order, after the sections (systemd-pcrphase). No log of
/// the firmware has it.
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];

/// Why a boot is not admitted: for the server's record. The node learns that it was refused and nothing of this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootRefusal {
    #[error("the boot policy admits no image")]
    NoImage,
    #[error("the boot policy needs the firmware's event log, and the node sent none")]
    NoLog,
    #[error("the event log has no digest of the quoted bank for its event {0}")]
    NoDigest(usize),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the event log does not give PCR {pcr} its quoted value: it is not the log of this boot")]
    OtherLog { pcr: u8 },
    #[error("image `{image}` is admitted from {from} on, and booted before")]
    TooEarly { image: String, from: UnixTime },
    #[error("image `{image}` was admitted until {until}; boot a newer one")]
    TooLate { image: String, until: UnixTime },
    #[error("image `{image}` needs Secure Boot, and the firmware measured that it is off, or nothing about it")]
    SecureBoot { image: String },
    /// The first event that differs from the image that fits best.
    #[error("{0}")]
    Differs(Box<Difference>),
}

/// One event that differs from what an image measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The image that fits best.
    pub image: String,
    pub pcr: u8,
    /// The event's number within its PCR, from 0.
    pub index: usize,
    /// What was measured, with how the log describes it; `None`: nothing more.
    pub measured: Option<(Digest, String)>,
    /// What the image measures, with its name; `None`: nothing more.
    pub expected: Option<(Digest, String)>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, pcr, index, measured, expected } = self;
        write!(f, "event {index} of PCR {pcr} ")?;
        match measured {
            Some((digest, named)) => write!(f, "measured {digest} ({named}); ")?,
            None => write!(f, "is missing; ")?,
        }
        match expected {
            Some((digest, what)) => write!(f, "image `{image}` expects {digest} ({what})"),
            None => write!(f, "image `{image}` expects no more there"),
        }
    }
}

/// A boot that the policy admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedBoot {
    /// The image's name in the policy.
    pub image: String,
}

impl BootPolicy {
    /// Judges a boot by its log. `quoted` are values that a verified quote covers.
    ///
    /// # Errors
    /// The first event that differs from the image that fits best, a log of another boot, or a time outside an image's
    /// window. An image that fits decides; else the refusal tells of the one that fits best.
    pub fn appraise(
        &self,
        log: Option<&EventLog>,
        quoted: Quoted<'_>,
        now: UnixTime,
    ) -> Result<AdmittedBoot, BootRefusal> {
        if self.images.is_empty() {
            return Err(BootRefusal::NoImage);
        }
        let log = log.ok_or(BootRefusal::NoLog)?;
        let measured = Measured::of(log, quoted.bank)?;
        let secure_boot = BootFacts::of(log, quoted.bank).secure_boot;
        let mut best: Option<(usize, BootRefusal)> = None;
        for image in &self.images {
            let refusal = match measured.differs(image) {
                None => match measured.explains(image, quoted).and_then(|()| image.in_force(secure_boot, now)) {
                    Ok(()) => return Ok(AdmittedBoot { image: image.name.clone() }),
                    Err(refusal) => (usize::MAX, refusal),
                },
                Some((fits, difference)) => (fits, BootRefusal::Differs(Box::new(difference))),
            };
            if best.as_ref().is_none_or(|(fits, _)| refusal.0 > *fits) {
                best = Some(refusal);
            }
        }
        Err(best.map_or(BootRefusal::NoImage, |(_, refusal)| refusal))
    }
}

impl BootPolicy {
    /// Whether what was found of a boot by [`Self::appraise`] holds `now`, by this same policy, without its log. Where
    /// a PCR of the image changed, as by systemd's phases, only the log shows it.
    pub fn still_admits(
        &self,
        image: &str,
        secure_boot: Option<bool>,
        (found, quoted): (Quoted<'_>, Quoted<'_>),
        now: UnixTime,
    ) -> bool {
        let same = |pcr: u8| found.values.get(&pcr) == quoted.values.get(&pcr);
        self.image(image).is_some_and(|image| {
            found.bank == quoted.bank && image.pcrs().into_iter().all(same) && image.in_force(secure_boot, now).is_ok()
        })
    }
}

impl AdmittedImage {
    fn in_force(&self, secure_boot: Option<bool>, now: UnixTime) -> Result<(), BootRefusal> {
        let name = || self.name.clone();
        if let Some(from) = self.not_before.filter(|from| now < *from) {
            return Err(BootRefusal::TooEarly { image: name(), from });
        }
        if let Some(until) = self.not_after.filter(|until| now >= *until) {
            return Err(BootRefusal::TooLate { image: name(), until });
        }
        if self.needs_secure_boot && secure_boot != Some(true) {
            return Err(BootRefusal::SecureBoot { image: name() });
        }
        Ok(())
    }
}

/// The events of a log that count, by PCR.
struct Measured<'a> {
    log: &'a EventLog,
    bank: HashAlgorithm,
    by_pcr: BTreeMap<u8, Vec<(&'a Event, Digest)>>,
}

impl<'a> Measured<'a> {
    fn of(log: &'a EventLog, bank: HashAlgorithm) -> Result<Self, BootRefusal> {
        let mut by_pcr: BTreeMap<u8, Vec<(&Event, Digest)>> = BTreeMap::new();
        for (index, event) in log.events.iter().enumerate().filter(|(_, event)| event.is_measured()) {
            let digest = event.digests.get(&bank).and_then(|digest| Digest::from_slice(digest).ok());
            let digest = digest.ok_or(BootRefusal::NoDigest(index))?;
            if !surrounds_applications(event, bank) {
                by_pcr.entry(event.pcr).or_default().push((event, digest));
            }
        }
        Ok(Self { log, bank, by_pcr })
    }

    /// The first event that differs in a PCR that the image names, and how many fit.
    fn differs(&self, image: &AdmittedImage) -> Option<(usize, Difference)> {
        let mut fits = 0;
        let mut first = None;
        for pcr in image.pcrs() {
            let measured = self.by_pcr.get(&pcr).map_or(&[][..], Vec::as_slice);
            let expected: Vec<_> = image.events.iter().filter(|event| event.pcr == pcr).collect();
            let same =
                measured.iter().zip(&expected).take_while(|((_, digest), event)| *digest == event.digest).count();
            fits += same;
            if same < measured.len().max(expected.len()) && first.is_none() {
                first = Some(Difference {
                    image: image.name.clone(),
                    pcr,
                    index: same,
                    measured: measured.get(same).map(|(event, digest)| (*digest, event.named())),
                    expected: expected.get(same).map(|event| (event.digest, event.what.clone())),
                });
            }
        }
        first.map(|difference| (fits, difference))
    }

    /// The log has to give each of these PCRs its quoted value; in PCR 11, phases of the start may follow.
    fn explains(&self, image: &AdmittedImage, quoted: Quoted<'_>) -> Result<(), BootRefusal> {
        let replayed = self.log.replay(self.bank)?;
        for pcr in image.pcrs() {
            let value = replayed.get(&pcr).cloned().unwrap_or_else(|| vec![0; self.bank.digest_len()]);
            let wanted = quoted.values.get(&pcr);
            let phases = if pcr == SECTIONS_PCR { &PHASES[..] } else { &[] };
            if !reaches(value, phases, self.bank, wanted) {
                return Err(BootRefusal::OtherLog { pcr });
            }
        }
        Ok(())
    }
}

/// Whether a PCR has the wanted value, as it is or after some of these phases.
fn reaches(mut value: Vec<u8>, phases: &[&str], bank: HashAlgorithm, wanted: Option<&Vec<u8>>) -> bool {
    let mut left = phases.iter();
    loop {
        if Some(&value) == wanted {
            return true;
        }
        let Some(phase) = left.next() else { return false };
        bank.extend(&mut value, &bank.digest([phase.as_bytes()]));
    }
}
