//! A simulated machine: its clock, its randomness, its address on the simulated network.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_types::UnixTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fabric::Fabric;
use super::mix::mix;
use crate::peer::PeerCredentials;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// Work that blocks takes this long at most, and one in so many takes longer.
const MOST_WORK: Duration = Duration::from_millis(2);
const LONG_WORK_EVERY: u64 = 48;
const LONGEST_WORK: Duration = Duration::from_millis(150);

/// A message of this length is not a frame about the connection itself, in bytes.
const LONG: usize = 300;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
}

/// One machine of a simulation. A program runs on it while its runtime is polled inside [`Machine::enter`]; that
/// runtime is of the current-thread kind and has paused time.
pub struct Machine {
    address: IpAddr,
    fabric: Fabric,
    seed: u64,
    random: AtomicU64,
    skew_nanos: AtomicI64,
    /// Where the runtime's clock began, and at which time of the simulation.
    began: Mutex<Option<(Instant, Duration)>>,
    /// The time of the simulation while no runtime runs.
    settled_nanos: AtomicU64,
    /// Its runtime is being dropped: its clock cannot be read.
    stopping: AtomicBool,
    heard_nanos: AtomicU64,
    long_work_every: AtomicU64,
    /// Which process its programs are, on its Unix sockets.
    process: Mutex<Option<PeerCredentials>>,
    /// Streams that its programs opened so far, and up to which of them all are held up.
    streams: AtomicU64,
    held_up: watch::Sender<u64>,
    devices: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// A thread's stay on a machine.
#[must_use]
pub struct MachineGuard {
    before: Option<Arc<Machine>>,
    of_thread: PhantomData<*const ()>,
}

impl Drop for MachineGuard {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

impl Machine {
    pub fn new(seed: u64, address: IpAddr, fabric: &Fabric) -> Arc<Self> {
        Arc::new(Self {
            address,
            fabric: fabric.clone(),
            seed,
            random: AtomicU64::new(seed),
            skew_nanos: AtomicI64::new(0),
            began: Mutex::new(None),
            settled_nanos: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            heard_nanos: AtomicU64::new(0),
            long_work_every: AtomicU64::new(LONG_WORK_EVERY),
            process: Mutex::new(None),
            streams: AtomicU64::new(0),
            held_up: watch::Sender::new(0),
            devices: Mutex::new(HashMap::new()),
        })
    }

    /// The machine that this thread simulates now, if it simulates one.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work` on this machine: what asks for the time, randomness or the network gets this machine's.
    pub fn enter<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let _stay = self.stay();
        work()
    }

    /// This thread is on this machine until the result is dropped: for one that runs no program of another.
    pub fn stay(self: &Arc<Self>) -> MachineGuard {
        MachineGuard { before: CURRENT.replace(Some(self.clone())), of_thread: PhantomData }
    }

    /// A runtime begins at this time of the simulation. To be called inside it.
    pub fn begin(&self, at: Duration) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), at));
        self.stopping.store(false, Ordering::Relaxed);
        self.settle(at);
    }

    /// No runtime of this machine is polled until the simulation has come to this time.
    pub fn settle(&self, at: Duration) {
        self.settled_nanos.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Its runtime is about to be dropped: it stops at the time at which it was settled last.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The instant of its runtime that is this time of the simulation.
    pub fn instant(&self, at: Duration) -> Option<Instant> {
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.map(|(base, from)| base + at.saturating_sub(from))
    }

    /// The time of the simulation.
    pub fn elapsed(&self) -> Duration {
        let settled = Duration::from_nanos(self.settled_nanos.load(Ordering::Relaxed));
        if self.stopping.load(Ordering::Relaxed) {
            return settled;
        }
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.map_or(settled, |(base, from)| from + base.elapsed())
    }

    /// When the newest long message that this machine has read was sent: long, so that it is an answer and nothing
    /// about the connection.
    pub fn newest_answer_time(&self) -> Duration {
        Duration::from_nanos(self.heard_nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn note_answer(&self, sent: Duration, length: usize) {
        if length >= LONG {
            self.heard_nanos.store(u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// One in so many pieces of work that block takes long.
    pub fn set_long_work(&self, every: u64) {
        self.long_work_every.store(every.max(1), Ordering::Relaxed);
    }

    /// Holds up the streams of messages that its programs have open, while their connections live and calls are
    /// answered; with `later_too` also those that they open from now on.
    pub fn hold_up_streams(&self, later_too: bool) {
        let newest = if later_too { u64::MAX } else { self.streams.load(Ordering::Relaxed) };
        self.held_up.send_replace(newest);
    }

    /// Lets all streams pass again.
    pub fn release_streams(&self) {
        self.held_up.send_replace(0);
    }

    pub(crate) fn opens_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) async fn stream_passes(&self, number: u64) {
        // Fails only if the sender is gone, and it is here.
        let mut held_up = self.held_up.subscribe();
        let _passes = held_up.wait_for(|held_up| *held_up < number).await;
    }

    /// Its programs are this process, which must exist: an agent measures it.
    pub fn set_process(&self, process: PeerCredentials) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    pub(crate) fn process(&self) -> Option<PeerCredentials> {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this machine has of a kind of device, such as a disk; it outlives the programs that run on the machine.
    pub fn device<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let device = devices.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        // The key is the type's own.
        device.clone().downcast().unwrap_or_default()
    }

    /// Sets this machine's time of day ahead of the simulation's, or behind it.
    pub fn set_skew(&self, nanos: i64) {
        self.skew_nanos.store(nanos, Ordering::Relaxed);
    }

    /// By how much its time of day is ahead of the simulation's, in nanoseconds.
    pub fn skew(&self) -> i64 {
        self.skew_nanos.load(Ordering::Relaxed)
    }

    pub fn time_of_day(&self) -> UnixTime {
        let elapsed = i64::try_from(self.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let skew = self.skew_nanos.load(Ordering::Relaxed);
        UnixTime::from_nanos(EPOCH_SECONDS.saturating_mul(1_000_000_000).saturating_add(elapsed).saturating_add(skew))
    }

    pub const fn address(&self) -> IpAddr {
        self.address
    }

    pub const fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The next number that follows from the seed (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
    pub fn random(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        mix(self.random.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA))
    }

    /// How long work that blocks takes: mostly very short, at times long. It follows from the moment and not from what
    /// was drawn before: tokio wakes the receivers of a `watch` in an order of its own.
    pub(crate) fn work_takes(&self) -> Duration {
        let moment = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let drawn = mix(self.seed ^ mix(moment));
        let is_long = (drawn >> 32).is_multiple_of(self.long_work_every.load(Ordering::Relaxed));
        let longest = if is_long { LONGEST_WORK } else { MOST_WORK };
        Duration::from_nanos(drawn % u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn fill(&self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            part.iter_mut().zip(self.random().to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instant, now, random_bytes};

    #[test]
    fn a_machine_is_its_seed_and_its_clock() {
        let fabric = Fabric::new(7);
        let machine = |seed| Machine::new(seed, [10, 0, 0, 1].into(), &fabric);
        let drawn = |seed| machine(seed).enter(random_bytes::<24>);
        assert_eq!(drawn(5), drawn(5));
        assert_ne!(drawn(5), drawn(6));

        let skewed = machine(1);
        skewed.set_skew(-3_000_000_000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (before, after) = skewed.enter(|| {
            runtime.block_on(async {
                skewed.begin(Duration::from_secs(100));
                let (before, began) = (now(), instant());
                tokio::time::sleep(Duration::from_secs(3600)).await;
                assert_eq!(began.elapsed(), Duration::from_secs(3600));
                (before, now())
            })
        });
        assert_eq!(before, UnixTime::from_seconds(EPOCH_SECONDS + 97));
        assert_eq!(after, before.plus_seconds(3600));
        // What the runtime's drop does comes at the time at which the machine was settled.
        skewed.settle(Duration::from_secs(50));
        skewed.stop();
        assert_eq!(skewed.elapsed(), Duration::from_secs(50));
        assert!(Machine::current().is_none());
    }
}
