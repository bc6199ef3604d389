//! Which boots are admitted: images by the events that they measure, each in its time.
//!
//! A policy is compared with parsed events, one after the other, so that a refusal can name the event that differs.
//! Of an event only its digest counts. The writer of the log chooses kind and data.

use std::collections::BTreeSet;

use sekisho_types::{Digest, UnixTime, parse_strict_json};
use serde_json::{Map, Value};

use super::Event;
use super::predict::{APPLICATIONS_PCR, SECTIONS_PCR};
use crate::hash::HashAlgorithm;

const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_IMAGES: usize = 1000;
const MAX_EVENTS: usize = 1000;
const MAX_FILES: usize = 100_000;
const MAX_PCR: u64 = 15;
/// What firmware measures into PCR 4 around applications (TCG PC Client Platform Firmware Profile, §10.4). It says
/// nothing of what runs, and its digest is that of exactly these bytes.
const AROUND_APPLICATIONS: [&[u8]; 3] =
    [b"Calling EFI Application from Boot Option", b"Returning from EFI Application from Boot Option", &[0; 4]];

/// Why a text is not a boot policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootPolicyError {
    #[error("{0}")]
    Json(String),
    #[error("{place}: {why}")]
    Form { place: String, why: &'static str },
}

/// An event that an image's boot has to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedEvent {
    pub pcr: u8,
    pub digest: Digest,
    /// What it measures, for people. It is compared with nothing.
    pub what: String,
}

/// An image that may be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedImage {
    pub name: String,
    /// When its boots are admitted. Windows of two images may overlap: an update needs that.
    pub not_before: Option<UnixTime>,
    pub not_after: Option<UnixTime>,
    /// The firmware has to enforce signatures (Secure Boot).
    pub needs_secure_boot: bool,
    pub events: Vec<ExpectedEvent>,
    /// PCRs into which nothing may be measured.
    pub empty: BTreeSet<u8>,
    /// SHA-256 of the only files that may run after such a boot, as the kernel measures them. `None`: any.
    pub files: Option<BTreeSet<Digest>>,
}

/// The images whose boots are admitted. Without one, none is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPolicy {
    /// SHA-256 of its text. Records name it by that.
    pub digest: Digest,
    pub images: Vec<AdmittedImage>,
}

impl BootPolicy {
    /// Reads a policy. Unknown members are refused: they may be a condition that is not known here.
    ///
    /// # Errors
    /// A text that is not of this form, two images of one name, an image that names no event of PCR 4 or 11, or two
    /// images of one time with the same events and other files.
    pub fn parse(text: &[u8]) -> Result<Self, BootPolicyError> {
        let value = parse_strict_json(text, MAX_BYTES).map_err(|e| BootPolicyError::Json(e.to_string()))?;
        let top = Members::of(&value, "boot policy", &["images"])?;
        let list = top.list("images", MAX_IMAGES)?;
        let images = list.iter().enumerate().map(|(at, value)| image(value, &format!("images[{at}]")));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        let names: BTreeSet<_> = images.iter().map(|image| &image.name).collect();
        if names.len() != images.len() {
            return Err(top.refusal("two images have one name"));
        }
        for (at, image) in images.iter().enumerate() {
            if let Some(other) = images.iter().take(at).find(|other| other.is_ambiguous_with(image)) {
                let why = "it measures the same events as an image before it, in the same time, and lists other files";
                return Err(BootPolicyError::Form { place: format!("images[{at}] (like `{}`)", other.name), why });
            }
        }
        Ok(Self { digest: crate::sha256(text), images })
    }

    /// The image of this name.
    pub fn image(&self, name: &str) -> Option<&AdmittedImage> {
        self.images.iter().find(|image| image.name == name)
    }
}

impl AdmittedImage {
    /// Whether a boot could be of either, and which files may run then would follow from their order.
    fn is_ambiguous_with(&self, other: &Self) -> bool {
        let events = |image: &Self| image.events.iter().map(|event| (event.pcr, event.digest)).collect::<Vec<_>>();
        let begins_before = |one: &Self, other: &Self| match (one.not_before, other.not_after) {
            (Some(begin), Some(end)) => begin < end,
            _ => true,
        };
        let overlap = begins_before(self, other) && begins_before(other, self);
        overlap && self.files != other.files && self.events.len() == other.events.len() && events(self) == events(other)
    }

    /// PCRs that its boot has to explain.
    pub fn pcrs(&self) -> BTreeSet<u8> {
        self.events.iter().map(|event| event.pcr).chain(self.empty.iter().copied()).collect()
    }
}

/// Whether an event of PCR 4 is one of the firmware's own that surround applications. Its digest says so, not its kind.
pub(super) fn surrounds_applications(event: &Event, bank: HashAlgorithm) -> bool {
    let digest = event.digests.get(&bank);
    event.pcr == APPLICATIONS_PCR
        && AROUND_APPLICATIONS.iter().any(|data| digest.is_some_and(|digest| *digest == bank.digest([*data])))
}

fn image(value: &Value, place: &str) -> Result<AdmittedImage, BootPolicyError> {
    let known = ["name", "not_before", "not_after", "secure_boot", "events", "empty_pcrs", "ima", "ima_also"];
    let of = Members::of(value, place, &known)?;
    let name = of.text("name")?.ok_or_else(|| of.refusal("`name` is missing"))?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        return Err(of.refusal("`name` has 1 to 64 letters, digits, `.`, `_` and `-`"));
    }
    let (not_before, not_after) = (of.time("not_before")?, of.time("not_after")?);
    if not_before.zip(not_after).is_some_and(|(from, to)| from >= to) {
        return Err(of.refusal("`not_after` is not later than `not_before`"));
    }
    let events = of.list("events", MAX_EVENTS)?.iter().enumerate();
    let events = events.map(|(at, value)| event(value, &format!("{place}.events[{at}]")));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    for pcr in [APPLICATIONS_PCR, SECTIONS_PCR] {
        if !events.iter().any(|event| event.pcr == pcr) {
            return Err(of.refusal("an image has events of PCR 4 (applications) and of PCR 11 (its sections)"));
        }
    }
    let empty = of.list("empty_pcrs", MAX_EVENTS)?.iter().map(|pcr| pcr_of(pcr).ok_or(()));
    let empty = empty.collect::<Result<BTreeSet<_>, ()>>();
    let empty = empty.map_err(|()| of.refusal("`empty_pcrs` lists PCRs from 0 to 15"))?;
    if events.iter().any(|event| empty.contains(&event.pcr)) {
        return Err(of.refusal("a PCR of `empty_pcrs` has an event"));
    }
    let (needs_secure_boot, files) = (of.switch("secure_boot", "`secure_boot` is true or false")?, files(&of)?);
    Ok(AdmittedImage { name: name.to_owned(), not_before, not_after, needs_secure_boot, events, empty, files })
}

/// What may run: `ima`, and what an administrator adds to it.
fn files(of: &Members<'_>) -> Result<Option<BTreeSet<Digest>>, BootPolicyError> {
    let (predicted, added) = (of.list("ima", MAX_FILES)?, of.list("ima_also", MAX_FILES)?);
    if !of.0.contains_key("ima") {
        let alone = of.refusal("`ima_also` adds to `ima`, which is missing");
        return if of.0.contains_key("ima_also") { Err(alone) } else { Ok(None) };
    }
    let digest = |value: &Value| value.as_str().and_then(|text| Digest::parse(text).ok());
    let digests = predicted.iter().chain(added).map(digest).collect::<Option<_>>();
    digests.map(Some).ok_or_else(|| of.refusal("`ima` and `ima_also` list digests of 64 hexadecimal digits"))
}

fn event(value: &Value, place: &str) -> Result<ExpectedEvent, BootPolicyError> {
    let of = Members::of(value, place, &["pcr", "sha256", "what"])?;
    let pcr = of.0.get("pcr").and_then(pcr_of).ok_or_else(|| of.refusal("`pcr` is a PCR from 0 to 15"))?;
    let digest = of.text("sha256")?.and_then(|text| Digest::parse(text).ok());
    let digest = digest.ok_or_else(|| of.refusal("`sha256` is a digest of 64 hexadecimal digits"))?;
    let what = of.text("what")?.unwrap_or_default().to_owned();
    if what.len() > 256 {
        return Err(of.refusal("`what` is longer than 256 bytes"));
    }
    Ok(ExpectedEvent { pcr, digest, what })
}

fn pcr_of(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64().filter(|pcr| *pcr <= MAX_PCR)?).ok()
}

/// The members of an object, all of them known.
struct Members<'a>(&'a Map<String, Value>, &'a str);

impl<'a> Members<'a> {
    fn of(value: &'a Value, place: &'a str, known: &[&str]) -> Result<Self, BootPolicyError> {
        let refusal = |why| BootPolicyError::Form { place: place.to_owned(), why };
        let members = value.as_object().ok_or_else(|| refusal("it is not an object"))?;
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(BootPolicyError::Form { place: format!("{place}.{name}"), why: "unknown member" }),
            None => Ok(Self(members, place)),
        }
    }

    fn refusal(&self, why: &'static str) -> BootPolicyError {
        BootPolicyError::Form { place: self.1.to_owned(), why }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, BootPolicyError> {
        let text = |value: &'a Value| value.as_str().ok_or_else(|| self.refusal("a member is not a text"));
        self.0.get(name).map(text).transpose()
    }

    /// A truth value that may be absent.
    fn switch(&self, name: &str, form: &'static str) -> Result<bool, BootPolicyError> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.refusal(form)),
        }
    }

    fn time(&self, name: &str) -> Result<Option<UnixTime>, BootPolicyError> {
        let time =
            |text: &str| UnixTime::parse(text).ok_or_else(|| self.refusal("a time is like `2027-01-31T12:00:00Z`"));
        self.text(name)?.map(time).transpose()
    }

    /// A list that may be absent.
    fn list(&self, name: &str, most: usize) -> Result<&'a [Value], BootPolicyError> {
        match self.0.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) if list.len() <= most => Ok(list),
            Some(_) => Err(self.refusal("a list is too long, or is not a list")),
        }
    }
}
