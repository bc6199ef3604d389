//! What is read off a run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use crate::world::{cpu_micros, rss_mb};

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

/// Microseconds of this thread on a processor, while others use it or not.
fn thread_micros() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

/// Runs `work` for about a second on one thread: microseconds of a processor each.
pub fn processor_each(mut work: impl FnMut()) -> f64 {
    let (began, before, mut count) = (Instant::now(), thread_micros(), 0u32);
    while began.elapsed() < Duration::from_secs(1) {
        (0..20).for_each(|_| work());
        count += 20;
    }
    (thread_micros() - before) / f64::from(count)
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

/// The value below which this share of them lies, in milliseconds.
pub fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    let at = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[at].as_secs_f64() * 1e3
}
