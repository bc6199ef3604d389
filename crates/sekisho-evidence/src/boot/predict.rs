//! Predicts what booting a unified kernel image measures, from the image alone.

use std::collections::BTreeMap;

use super::initramfs::{Initramfs, PackedFile};
use super::pe::PeImage;
use crate::bytes::Malformed;
use crate::hash::HashAlgorithm;

/// What firmware and systemd-stub measure before an operating system runs.
const BOOT_OPTION: &[u8] = b"Calling EFI Application from Boot Option";
const SEPARATOR: &[u8] = &[0; 4];
pub(super) const APPLICATIONS_PCR: u8 = 4;
pub(super) const SECTIONS_PCR: u8 = 11;
/// Where systemd-stub measures what is not part of the image: other kernel parameters, credentials, extensions.
const ADDED_PCR: u8 = 12;
const BANK: HashAlgorithm = HashAlgorithm::Sha256;

/// Sections in the order in which systemd-stub measures them (UAPI.5), each with the first version that does.
const MEASURED: [(&str, u32); 10] = [
    (".linux", 252),
    (".osrel", 252),
    (".cmdline", 252),
    (".initrd", 252),
    (".ucode", 256),
    (".splash", 252),
    (".dtb", 252),
    (".uname", 254),
    (".sbat", 254),
    (".pcrpkey", 252),
];
/// With one of these, what is measured depends on the machine or on a choice at boot.
const CHOSEN_AT_BOOT: [&str; 4] = [".profile", ".dtbauto", ".hwids", ".efifw"];
/// The versions whose measurements are known here.
const VERSIONS: std::ops::RangeInclusive<u32> = 252..=257;
const MAGIC: &str = "LoaderInfo: systemd-stub ";

/// Why nothing is predicted for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it is not a unified kernel image: it has no section `{0}`")]
    Lacks(&'static str),
    #[error("its section `.sdmagic` names no systemd-stub")]
    NoStub,
    #[error("its systemd-stub is of version {0}; what that version measures is known for 252 to 257 only")]
    Version(u32),
    #[error("it has no signature, and firmware with Secure Boot runs no such image; sign it first")]
    Unsigned,
    #[error("its section `{0}` makes measurements depend on the machine: they cannot be predicted from the image")]
    ChosenAtBoot(&'static str),
}

/// One event that a boot of the image measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictedEvent {
    pub pcr: u8,
    /// Of the SHA-256 bank.
    pub digest: Vec<u8>,
    /// What is measured, for people.
    pub what: String,
    /// The image decides it. Other events are the firmware's own, and come with each image.
    pub is_of_image: bool,
}

/// What a boot of the image measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The version of systemd-stub.
    pub stub: u32,
    pub events: Vec<PredictedEvent>,
    /// PCRs into which such a boot measures nothing.
    pub empty: Vec<u8>,
    /// Files of the initramfs, with the digests that the kernel's IMA measures when they are used. `None`: it is
    /// compressed in a way that is not read here.
    pub files: Option<Vec<PackedFile>>,
}

impl Prediction {
    /// Reads a unified kernel image that firmware runs without Secure Boot.
    ///
    /// # Errors
    /// An image that is malformed, has no systemd-stub of a known version, or whose measurements depend on more than
    /// the image.
    pub fn of(image: &[u8]) -> Result<Self, PredictError> {
        let (mut predicted, kernel) = Self::of_parts(&PeImage::parse(image)?)?;
        predicted.events.push(of_image(APPLICATIONS_PCR, kernel, "the kernel in .linux (Authenticode)".to_owned()));
        Ok(predicted)
    }

    /// Reads a signed unified kernel image that firmware runs under Secure Boot.
    ///
    /// There systemd-stub vouches for the kernel in its section itself. So the firmware does not look at the kernel,
    /// and does not measure it as an application: the digest of the image, which is checked, covers that section.
    ///
    /// # Errors
    /// As [`Self::of`], and an image without a signature.
    pub fn under_secure_boot(image: &[u8]) -> Result<Self, PredictError> {
        let pe = PeImage::parse(image)?;
        if !pe.is_signed() {
            return Err(PredictError::Unsigned);
        }
        Ok(Self::of_parts(&pe)?.0)
    }

    /// All but the kernel, whose digest comes with it.
    fn of_parts(pe: &PeImage<'_>) -> Result<(Self, Vec<u8>), PredictError> {
        let stub = version(pe)?;
        for name in CHOSEN_AT_BOOT {
            if pe.section(name)?.is_some() {
                return Err(PredictError::ChosenAtBoot(name));
            }
        }
        let mut events = vec![
            of_firmware(BOOT_OPTION, "the firmware's action before an application"),
            of_firmware(SEPARATOR, "the firmware's separator"),
            of_image(APPLICATIONS_PCR, pe.authenticode(BANK)?, "the image (Authenticode)".to_owned()),
        ];
        for (name, _) in MEASURED.iter().filter(|(_, since)| stub >= *since) {
            if let Some(section) = pe.section(name)? {
                let measured_name = [name.as_bytes(), &[0]].concat();
                events.push(of_image(SECTIONS_PCR, BANK.digest([measured_name.as_slice()]), format!("{name} (name)")));
                events.push(of_image(SECTIONS_PCR, BANK.digest([section.content()?]), (*name).to_owned()));
            }
        }
        let linux = pe.section(".linux")?.ok_or(PredictError::Lacks(".linux"))?.content()?;
        let kernel = PeImage::parse(linux)?.authenticode(BANK)?;
        let files = match pe.section(".initrd")? {
            Some(initrd) => Initramfs::files(initrd.content()?)?,
            None => Some(vec![]),
        };
        Ok((Self { stub, events, empty: vec![ADDED_PCR], files }, kernel))
    }

    /// The values that these events give the PCRs. That of PCR 4 holds for firmware that measures one boot option.
    pub fn pcrs(&self) -> BTreeMap<u8, Vec<u8>> {
        let mut pcrs: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for event in &self.events {
            BANK.extend(pcrs.entry(event.pcr).or_insert_with(|| vec![0; BANK.digest_len()]), &event.digest);
        }
        pcrs
    }
}

fn of_firmware(data: &[u8], what: &str) -> PredictedEvent {
    PredictedEvent { pcr: APPLICATIONS_PCR, digest: BANK.digest([data]), what: what.to_owned(), is_of_image: false }
}

const fn of_image(pcr: u8, digest: Vec<u8>, what: String) -> PredictedEvent {
    PredictedEvent { pcr, digest, what, is_of_image: true }
}

/// The number in `#### LoaderInfo: systemd-stub 252.39-1 ####`.
fn version(pe: &PeImage<'_>) -> Result<u32, PredictError> {
    let magic = pe.section(".sdmagic")?.ok_or(PredictError::Lacks(".sdmagic"))?;
    let text = String::from_utf8_lossy(magic.content()?).into_owned();
    let (_, rest) = text.split_once(MAGIC).ok_or(PredictError::NoStub)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let version = digits.parse().map_err(|_| PredictError::NoStub)?;
    if VERSIONS.contains(&version) { Ok(version) } else { Err(PredictError::Version(version)) }
}
