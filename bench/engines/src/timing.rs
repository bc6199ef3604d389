//! Times of the processor, so that other work on the machine does not count.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The median and the 99th percentile of batches.
pub struct Times {
    pub median: Duration,
    pub high: Duration,
}

pub fn show(times: &Times) -> String {
    format!("{:?}, 99th percentile {:?}", times.median, times.high)
}

/// The time that this process had a processor, in threads that have stopped as well.
pub fn cpu_of_process() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

fn cpu_of_thread() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).expect("a time of a processor is positive")
}

/// Calls of about half a second, in batches long enough for the clock.
pub fn times<T>(mut call: impl FnMut() -> T) -> Times {
    let began = Instant::now();
    let mut calls = 0_u32;
    while began.elapsed() < Duration::from_millis(100) {
        black_box(call());
        calls += 1;
    }
    let batch = (calls / 50).max(1);
    let mut all: Vec<Duration> = (0..200)
        .map(|_| {
            let began = cpu_of_thread();
            (0..batch).for_each(|_| drop(black_box(call())));
            (cpu_of_thread() - began) / batch
        })
        .collect();
    all.sort();
    Times { median: all[100], high: all[197] }
}

/// Calls a second, by all threads together, in a second of time.
pub fn rate<T>(threads: usize, call: impl Fn() -> T + Sync) -> f64 {
    let run = || {
        let (began, mut calls) = (Instant::now(), 0_u64);
        while began.elapsed() < Duration::from_secs(1) {
            (0..16).for_each(|_| drop(black_box(call())));
            calls += 16;
        }
        calls as f64 / began.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|thread| thread.join().expect("a thread that measures")).sum()
    })
}
