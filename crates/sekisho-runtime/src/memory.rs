//! Memory that a daemon does not need at the moment, given back to the kernel.
//!
//! A start runs code that nothing runs afterwards: relocation, the command line, the formats of files. A burst of
//! requests leaves free memory between pieces that are in use. Both stay resident until someone says that they may go.

use std::ffi::c_void;
use std::time::Duration;

/// By then a daemon has started.
const START: Duration = Duration::from_secs(5);
/// How often a daemon looks whether it is idle.
const PERIOD: Duration = Duration::from_secs(10);
/// CPU time in one period, at most, of a daemon that is idle: 1 %. In ticks of 10 ms (proc(5)).
const IDLE: u64 = 10;

/// Gives memory back after the start, and whenever a busy time is over. Does not return.
pub async fn give_back_idle_memory() {
    tokio::time::sleep(START).await;
    let (mut is_due, mut is_idle) = (true, true);
    loop {
        if is_due && is_idle {
            // It waits for locks of the allocator and of the address space: not on a thread that serves.
            let _ended = sekisho_ports::blocking(give_back).await;
            is_due = false;
        }
        let before = cpu_time();
        tokio::time::sleep(PERIOD).await;
        is_idle = cpu_time().saturating_sub(before) <= IDLE;
        is_due |= !is_idle;
    }
}

/// CPU time of this process, in user mode and in the kernel, in ticks.
fn cpu_time() -> u64 {
    ticks(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// The 14th and the 15th field of proc(5)'s `stat`; the second is a name in brackets, which may hold blanks.
fn ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Gives back free memory of the heap, and the pages of files that this process has in its address space and never
/// changes. They stay in the kernel's page cache, and what is used again is mapped again.
fn give_back() {
    trim_heap();
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for Mapping { start, length } in unchanged_files(&mappings) {
        drop_pages(start, length);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
}

/// Mappings that hold nothing but pages of a file as they are on disk: private, not writable, and without a page of
/// their own (`Anonymous`). The dynamic linker writes to some of a program's read-only mappings before they become
/// read-only; those have such pages.
fn unchanged_files(smaps: &str) -> Vec<Mapping> {
    let mut found = vec![];
    let mut current = None;
    for line in smaps.lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            found.extend(current.take().filter(|_| anonymous.trim() == "0 kB"));
        } else if let Some((start, rest)) = line.split_once('-') {
            current = candidate(start, rest);
        }
    }
    found
}

/// `55d0c8a00000-55d0c8b00000 r-xp 00100000 fe:00 1234  /usr/bin/sekisho`, split behind the first number (proc(5)).
fn candidate(start: &str, rest: &str) -> Option<Mapping> {
    let mut words = rest.split_ascii_whitespace();
    let (end, access) = (words.next()?, words.next()?);
    let path = words.nth(3)?;
    let is_constant = matches!(access, "r--p" | "r-xp") && path.starts_with('/');
    let start = usize::from_str_radix(start, 16).ok().filter(|_| is_constant)?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    Some(Mapping { start, length })
}

#[expect(unsafe_code, reason = "madvise(2) has no safe wrapper, since other advice and other mappings lose data")]
fn drop_pages(start: usize, length: usize) {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(start);
    // SAFETY: the mapping is of a file, cannot be written to, and has no page that differs from the file: whatever is
    // read from it afterwards is what was read before. No library is unloaded, so that it is still the same mapping.
    let dropped = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    if dropped != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "pages of a file stay in memory");
    }
}

/// Bounds the free memory at the end of each thread's heap, which `malloc_trim` does not give back. By itself the
/// allocator keeps twice the longest piece that was ever freed, up to 64 MiB a heap (mallopt(3), `M_MMAP_THRESHOLD`).
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
pub fn keep_short_heaps() {
    const KEPT: i32 = 1024 * 1024;
    /// Longer pieces have a mapping of their own, which is gone once they are freed: those of a burst do not.
    const MAPPED: i32 = 4 * 1024 * 1024;
    for (parameter, bytes) in [(libc::M_TRIM_THRESHOLD, KEPT), (libc::M_MMAP_THRESHOLD, MAPPED)] {
        // SAFETY: it takes two numbers, and sets one of the allocator's settings under its lock.
        if unsafe { libc::mallopt(parameter, bytes) } == 0 {
            tracing::debug!(parameter, bytes, "the allocator did not take a setting");
        }
    }
}

#[cfg(not(target_env = "gnu"))]
pub fn keep_short_heaps() {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim(3) has no safe wrapper")]
fn trim_heap() {
    // SAFETY: it takes a number, locks what it looks at, and gives back pages of free memory only.
    let _whether_any = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_pages_of_files_are_dropped() {
        let smaps = "\
            1000-3000 r--p 00000000 fe:00 11      /usr/bin/a\nRss:    8 kB\nAnonymous:             0 kB\n\
            3000-5000 r-xp 00002000 fe:00 11      /usr/bin/a b\nRss:    8 kB\nAnonymous:             0 kB\n\
            5000-6000 r--p 00004000 fe:00 11      /usr/bin/a\nAnonymous:             4 kB\n\
            6000-7000 rw-p 00005000 fe:00 11      /usr/bin/a\nAnonymous:             0 kB\n\
            7000-8000 r--s 00000000 fe:00 12      /usr/lib/cache\nAnonymous:             0 kB\n\
            8000-9000 rw-p 00000000 00:00 0       [heap]\nAnonymous:             0 kB\n\
            9000-a000 r--p 00000000 00:00 0\nAnonymous:             0 kB\n\
            a000-b000 r-xp 00000000 00:00 0       [vdso]\nAnonymous:             0 kB\n";
        let expected = [Mapping { start: 0x1000, length: 0x2000 }, Mapping { start: 0x3000, length: 0x2000 }];
        assert_eq!(unchanged_files(smaps), expected);
    }

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 21 13 0 0 20 0 3 0 500 0 0";
        assert_eq!((ticks(stat), ticks("")), (34, 0));
        assert!(cpu_time() < 1_000_000);
    }

    /// Resident pages of a kind, in KiB.
    fn resident(kind: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn a_burst_leaves_little_in_a_heap() {
        use std::hint::black_box;
        keep_short_heaps();
        // By itself the allocator would keep up to twice as much at the end of each heap from here on.
        drop(black_box(vec![1u8; 32 * 1024 * 1024]));
        let burst = || {
            drop(black_box((0..200).map(|_| vec![1u8; 100 * 1024]).collect::<Vec<_>>()));
            resident("RssAnon:")
        };
        let before = resident("RssAnon:");
        let after = std::thread::spawn(burst).join().unwrap();
        assert!(after < before + 10 * 1024, "{before} → {after} KiB");
    }

    #[test]
    fn a_program_runs_on_with_less_memory() {
        let before = resident("RssFile:");
        give_back();
        let after = resident("RssFile:");
        assert!(after < before, "{before} → {after} KiB");
        // What was dropped is read again.
        assert!(std::str::from_utf8(include_bytes!("memory.rs")).unwrap().contains("What was dropped"));
    }
}
