//! A machine with a software TPM, and logs of firmware and kernel as a real one has them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use sekisho_evidence::HashAlgorithm::{Sha1, Sha256};
use sekisho_tpm::{Socket, Transport as _};

use super::Software;

pub struct Measured {
    pub software: Software,
}

impl Measured {
    /// `None` where the programs are absent.
    pub fn new() -> Option<Self> {
        let software = Software::new()?;
        drop(software.connect());
        let machine = Self { software };
        for log in [machine.event_log(), machine.ima_log()] {
            fs::create_dir_all(log.parent().unwrap()).unwrap();
        }
        Some(machine)
    }

    /// The folder that stands for securityfs.
    pub fn logs(&self) -> PathBuf {
        self.software.folder.path().join("securityfs")
    }

    pub fn event_log(&self) -> PathBuf {
        self.logs().join("tpm0/binary_bios_measurements")
    }

    pub fn ima_log(&self) -> PathBuf {
        self.logs().join("ima/binary_runtime_measurements")
    }

    /// The kernel measures a file.
    pub fn measure(&self, digest: u8, path: &str) {
        self.extend(10, &self.append(digest, path));
    }

    /// Only the log gets the entry. Returns what PCR 10 is to be extended with.
    pub fn append(&self, digest: u8, path: &str) -> Vec<u8> {
        self.append_file(&[digest; 32], path)
    }

    /// The same, for any digest.
    pub fn append_file(&self, digest: &[u8], path: &str) -> Vec<u8> {
        let data = template_data(digest, path);
        self.append_entry(&Sha1.digest([data.as_slice()]), "ima-ng", &data);
        Sha256.digest([data.as_slice()])
    }

    /// The kernel could not measure a file.
    pub fn violate(&self, path: &str) {
        self.append_entry(&[0; 20], "ima-ng", &template_data(&[0; 32], path));
        self.extend(10, &[0xff; 32]);
    }

    /// An entry of a template that is not known.
    pub fn measure_oddly(&self) {
        let data = b"whatever".as_slice();
        self.append_entry(&Sha1.digest([data]), "ima-xyz", data);
        self.extend(10, &Sha256.digest([data]));
    }

    fn append_entry(&self, sha1: &[u8], template: &str, data: &[u8]) {
        let entry = [&10u32.to_le_bytes(), sha1, &sized(template.as_bytes()), &sized(data)].concat();
        let mut log = OpenOptions::new().create(true).append(true).open(self.ima_log()).unwrap();
        log.write_all(&entry).unwrap();
    }

    /// The firmware measures something, and logs it.
    pub fn boot_event(&self, pcr: u8, data: &[u8]) {
        let digest = Sha256.digest([data]);
        let log = fs::read(self.event_log()).unwrap_or_else(|_| spec_id());
        fs::write(self.event_log(), [log, event(pcr.into(), 8, &digest, data)].concat()).unwrap();
        self.extend(pcr, &digest);
    }

    /// `TPM2_PCR_Extend` with the empty password (TPM 2.0 Library, part 3, §22.2).
    pub fn extend(&self, pcr: u8, digest: &[u8]) {
        let body = [
            &0x182u32.to_be_bytes()[..],
            &u32::from(pcr).to_be_bytes(),
            &9u32.to_be_bytes(),
            &0x4000_0009u32.to_be_bytes(),
            &[0; 5],
            &1u32.to_be_bytes(),
            &0x0bu16.to_be_bytes(),
            digest,
        ]
        .concat();
        let length = u32::try_from(body.len() + 6).unwrap();
        let command = [&0x8002u16.to_be_bytes()[..], &length.to_be_bytes(), &body].concat();
        let mut tpm = Socket::connect(&self.software.socket()).unwrap();
        let answer = tpm.transact(&command).unwrap();
        assert_eq!(answer[6..10], [0; 4], "the TPM extends PCR {pcr}");
    }

    /// Power off, power on: both logs start again.
    pub fn reboot(&mut self) {
        self.software.reboot();
        drop(self.software.connect());
        for log in [self.event_log(), self.ima_log()] {
            let _absent = fs::remove_file(log);
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn template_data(digest: &[u8], path: &str) -> Vec<u8> {
    let digest = [b"sha256:\0".as_slice(), digest].concat();
    [sized(&digest), sized(&[path.as_bytes(), &[0]].concat())].concat()
}

/// One event with a SHA-256 digest.
pub fn event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat();
    out.extend(0x0bu16.to_le_bytes());
    out.extend(digest);
    out.extend(sized(data));
    out
}

/// The Spec ID event of a log with SHA-256 digests.
pub fn spec_id() -> Vec<u8> {
    let data = [&b"Spec ID Event03\0"[..], &[0, 0, 0, 0, 0, 2, 0, 8, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]].concat();
    let mut out = [0u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
    out.extend([0; 20]);
    out.extend(sized(&data));
    out
}
