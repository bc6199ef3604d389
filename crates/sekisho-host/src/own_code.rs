//! This program's own code in memory. Most of what a start needs (the command line, loading a policy, tests of the
//! cryptography) is not needed again, and counts as memory of the process while it is mapped.

use std::io;

/// Lets go of the pages of this program's code. What is used again comes back from the page cache, in microseconds.
pub fn let_go_of_code() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for code in maps.lines().filter_map(|line| Code::within(line, &program.to_string_lossy())) {
        // They stay as they are otherwise.
        let _best_effort = code.drop_pages();
    }
}

/// The ends of a private mapping of the program's file that may be read and run, and not written.
#[derive(Debug, PartialEq, Eq)]
struct Code(usize, usize);

impl Code {
    /// The mapping of this line of /proc/self/maps, if it is code of `program`. What can only be read may have been
    /// written when the program was loaded (relocations), and would be lost.
    fn within(line: &str, program: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (range, rights) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        if rights != "r-xp" || path != program || program.is_empty() {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Self(number(start)?, number(end)?)).filter(|code| code.0 < code.1)
    }

    #[expect(unsafe_code, reason = "madvise(2) has no safe wrapper: of other mappings it would drop what they hold")]
    fn drop_pages(&self) -> io::Result<()> {
        let start = std::ptr::with_exposed_provenance_mut(self.0);
        // SAFETY: no page of such a mapping was ever written, so each is read from the file again as it was.
        let done = unsafe { libc::madvise(start, self.1 - self.0, libc::MADV_DONTNEED) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_dropped() {
        let line = |rights: &str, path: &str| {
            format!("5581fc311000-5581fdc4f000 {rights} 00885000 fe:00 123                    {path}")
        };
        let found = Some(Code(0x5581_fc31_1000, 0x5581_fdc4_f000));
        assert_eq!(Code::within(&line("r-xp", "/opt/a b/sekisho"), "/opt/a b/sekisho"), found);
        for (rights, path) in [
            ("r--p", "/opt/sekisho"),
            ("rw-p", "/opt/sekisho"),
            ("r-xs", "/opt/sekisho"),
            ("r-xp", "/lib/libc.so.6"),
            ("r-xp", ""),
        ] {
            assert_eq!(Code::within(&line(rights, path), "/opt/sekisho"), None, "{rights} {path}");
        }
        assert_eq!(Code::within("", ""), None);
    }

    #[test]
    fn a_program_runs_on_without_its_pages() {
        for _ in 0..3 {
            let_go_of_code();
            assert!(std::fs::read_to_string("/proc/self/maps").unwrap().contains("r-xp"));
        }
    }
}
