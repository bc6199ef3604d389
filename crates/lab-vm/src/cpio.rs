//! Writes an initramfs: a `cpio` archive of the form `newc`. The same files give the same bytes.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LAST: &str = "TRAILER!!!";

/// An archive that grows.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    count: u32,
}

impl Archive {
    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let folder = &path[..end];
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, b"");
            }
        }
    }

    /// Adds a file below folders that are added with it. `path` has no `/` in front.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.within(path, FILE, content);
    }

    /// Likewise a file that can be run.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.within(path, PROGRAM, content);
    }

    fn within(&mut self, path: &str, mode: u32, content: &[u8]) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(path, mode, content);
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.count += 1;
        let length = u32::try_from(content.len()).expect("a file of less than 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a short path");
        let links = if mode == FOLDER { 2 } else { 1 };
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, size, two devices, length of the name, checksum.
        for field in [self.count, mode, 0, 0, links, 0, length, 0, 0, 0, 0, name, 0] {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(path.bytes().chain([0]));
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.entry(LAST, 0, b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_folder_is_added_once() {
        let mut archive = Archive::default();
        archive.file("a/b/c", b"x");
        archive.program("a/b/d", b"");
        let bytes = archive.finish();
        let count = |text: &[u8]| bytes.windows(text.len()).filter(|part| *part == text).count();
        assert_eq!((count(b"\0a\0"), count(b"070701")), (0, 5));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn another_program_reads_the_archive() {
        let mut archive = Archive::default();
        archive.file("etc/name", b"lab\n");
        archive.program("init", b"#!/bin/sh\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("archive");
        std::fs::write(&file, archive.finish()).unwrap();
        let listed = Command::new("busybox").args(["cpio", "-t"]).stdin(std::fs::File::open(&file).unwrap()).output();
        let Ok(listed) = listed else {
            eprintln!("\nskipped: cpio::tests::another_program_reads_the_archive: no busybox");
            return;
        };
        let _unused = Stdio::null();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "etc\netc/name\ninit\n");
    }
}
