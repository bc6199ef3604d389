//! What is read off a run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting.
pub struct Counting;

#[expect(unsafe_code, reason = "the only way to count allocations")]
// SAFETY: every call goes on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Lines of what was measured, and what that is held against.
#[derive(Default)]
pub struct Table(Vec<(String, String, String)>);

impl Table {
    pub fn add(&mut self, what: impl Into<String>, measured: impl Into<String>, against: impl Into<String>) {
        let line = (what.into(), measured.into(), against.into());
        eprintln!("{} | {} | {}", line.0, line.1, line.2);
        self.0.push(line);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| work | measured | limit or peer |\n|---|---|---|")?;
        self.0.iter().try_for_each(|(what, measured, against)| writeln!(f, "| {what} | {measured} | {against} |"))
    }
}

/// Runs `work` for about a second on one thread: microseconds and allocations each.
pub fn each(mut work: impl FnMut()) -> (f64, f64) {
    for _ in 0..50 {
        work();
    }
    let (began, before, mut count) = (Instant::now(), ALLOCATIONS.load(Ordering::Relaxed), 0u32);
    while began.elapsed() < Duration::from_secs(1) {
        (0..20).for_each(|_| work());
        count += 20;
    }
    let spent = began.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    (spent, allocations as f64 / f64::from(count))
}

/// User and system time of a process, in microseconds.
pub fn cpu_micros(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    (fields[0] + fields[1]) * 10_000.0
}

pub fn rss_mb(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The value below which this share of them lies, in milliseconds.
pub fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    let at = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[at].as_secs_f64() * 1e3
}
