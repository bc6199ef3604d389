//! What the kernel measured (IMA), by path: the text form of its list, read on from where it was left.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use sekisho_evidence::ima::ImaLog;
use sekisho_types::Digest;

const LIST: &str = "/sys/kernel/security/ima/ascii_runtime_measurements";
const COUNT: &str = "/sys/kernel/security/ima/runtime_measurements_count";
/// A longer list is not read: a kernel whose policy measures each file that anyone reads.
const MAX_LIST_BYTES: u64 = 64 * 1024 * 1024;

/// The digests of each path that the kernel measured, in order.
#[derive(Debug)]
pub(crate) struct MeasuredFiles {
    list: Cow<'static, str>,
    count: Cow<'static, str>,
    /// What the kernel's counter showed when the list was read last.
    counted: String,
    read: u64,
    by_path: BTreeMap<String, Vec<Digest>>,
}

/// What the kernel's list says of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Agrees,
    /// Nothing by SHA-256, or there is no list.
    NotMeasured,
    /// The kernel measured this path, and never with this digest.
    Differs,
}

impl MeasuredFiles {
    pub(crate) const fn of_machine() -> Self {
        Self {
            list: Cow::Borrowed(LIST),
            count: Cow::Borrowed(COUNT),
            counted: String::new(),
            read: 0,
            by_path: BTreeMap::new(),
        }
    }

    /// Reads what is new. A list that cannot be read (no IMA, or an agent of an ordinary user) adds nothing.
    pub(crate) fn read_on(&mut self) {
        let Ok(counted) = std::fs::read_to_string(&*self.count) else { return };
        if counted != self.counted && self.read_list().is_ok() {
            self.counted = counted;
        }
    }

    fn read_list(&mut self) -> std::io::Result<()> {
        let mut file = File::open(&*self.list)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(MAX_LIST_BYTES.saturating_sub(self.read)).read_to_end(&mut bytes)?;
        // An entry that is being written is read the next time.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let new = bytes.get(..whole).unwrap_or_default();
        self.read += new.len() as u64;
        new.split(|byte| *byte == b'\n').for_each(|line| self.add(line));
        Ok(())
    }

    /// A line of a template that is not known here measures nothing that we could compare.
    fn add(&mut self, line: &[u8]) {
        let Some(log) = std::str::from_utf8(line).ok().and_then(|line| ImaLog::parse_ascii(line).ok()) else { return };
        for entry in log.entries.iter().filter(|entry| !entry.is_violation && entry.digest.algorithm == "sha256") {
            let Ok(digest) = Digest::from_slice(&entry.digest.bytes) else { continue };
            let known = self.by_path.entry(entry.path.clone()).or_default();
            if !known.contains(&digest) {
                known.push(digest);
            }
        }
    }

    pub(crate) fn judge(&self, path: &str, digest: &Digest) -> Verdict {
        match self.by_path.get(path) {
            None => Verdict::NotMeasured,
            Some(known) if known.contains(digest) => Verdict::Agrees,
            Some(_) => Verdict::Differs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as a kernel with `ima_policy=tcb` writes them, with digests of our own.
    fn line(digest: u8, path: &str) -> String {
        let file = hex::encode([digest; 32]);
        let mut data = 40u32.to_le_bytes().to_vec();
        data.extend(b"sha256:\0");
        data.extend([digest; 32]);
        data.extend(u32::try_from(path.len() + 1).unwrap().to_le_bytes());
        data.extend([path.as_bytes(), &[0]].concat());
        let template = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &data);
        format!("10 {} ima-ng sha256:{file} {path}\n", hex::encode(template))
    }

    fn files(folder: &std::path::Path) -> MeasuredFiles {
        let at = |name: &str| Cow::Owned(folder.join(name).display().to_string());
        MeasuredFiles { list: at("list"), count: at("count"), ..MeasuredFiles::of_machine() }
    }

    fn digest(byte: u8) -> Digest {
        Digest::new([byte; 32])
    }

    #[test]
    fn the_kernels_digest_has_to_agree() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let boot = format!("10 {} ima-ng sha256:{} boot_aggregate\n", "00".repeat(20), "11".repeat(32));
        write("list", &[boot, line(1, "/bin/a"), line(2, "/bin/with blank")].concat());
        write("count", "3\n");
        let mut files = files(folder.path());
        files.read_on();
        assert_eq!(files.judge("/bin/a", &digest(1)), Verdict::Agrees);
        assert_eq!(files.judge("/bin/with blank", &digest(2)), Verdict::Agrees);
        assert_eq!(files.judge("/bin/a", &digest(2)), Verdict::Differs);
        assert_eq!(files.judge("/bin/b", &digest(1)), Verdict::NotMeasured);
        // A violation measured nothing.
        assert_eq!(files.judge("boot_aggregate", &digest(0x11)), Verdict::NotMeasured);
    }

    #[test]
    fn the_list_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut files = files(folder.path());
        files.read_on();
        assert_eq!(files.judge("/bin/a", &digest(1)), Verdict::NotMeasured, "there is no list");
        let (first, second) = (line(1, "/bin/a"), line(3, "/bin/a"));
        let half = second.split_at(second.len() / 2).0;
        write("list", &[first.as_str(), half].concat());
        write("count", "1\n");
        files.read_on();
        assert_eq!(files.judge("/bin/a", &digest(1)), Verdict::Agrees);
        assert_eq!(files.judge("/bin/a", &digest(3)), Verdict::Differs);
        write("list", &[first, second].concat());
        write("count", "2\n");
        files.read_on();
        // The file was replaced; the process that still runs the former one goes on.
        assert_eq!(files.judge("/bin/a", &digest(3)), Verdict::Agrees);
        assert_eq!(files.judge("/bin/a", &digest(1)), Verdict::Agrees);
    }
}
