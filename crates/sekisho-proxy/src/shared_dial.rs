//! One dial to a destination at a time. All who want the connection wait for that dial and share its result, and a dial
//! that has just failed is not tried again at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_runtime::{instant, random_bytes};
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause after a first failure; it doubles with each more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What failed last, and until when that is answer enough.
pub(crate) struct Failures<E> {
    longest_pause: Duration,
    state: Mutex<Option<Failed<E>>>,
}

struct Failed<E> {
    error: Arc<E>,
    /// The SVID that it failed with; another may succeed.
    generation: u64,
    times: u32,
    until: Instant,
}

impl<E> Failures<E> {
    pub(crate) fn new(longest_pause: Duration) -> Self {
        Self { longest_pause, state: Mutex::default() }
    }

    /// The error of a dial that failed a moment ago.
    pub(crate) fn recent(&self, generation: u64) -> Option<Arc<E>> {
        let state = self.state();
        let failed = state.as_ref().filter(|failed| failed.generation == generation && instant() < failed.until);
        failed.map(|failed| failed.error.clone())
    }

    pub(crate) fn succeeded(&self) {
        *self.state() = None;
    }

    pub(crate) fn failed(&self, generation: u64, error: Arc<E>) {
        let mut state = self.state();
        let times = state.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
        let until = instant() + pause(times, self.longest_pause);
        *state = Some(Failed { error, generation, times, until });
    }

    fn state(&self) -> MutexGuard<'_, Option<Failed<E>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half of the pause and all of it, so that many sidecars do not dial in step.
fn pause(times: u32, longest: Duration) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (times - 1).min(16)).min(longest);
    let part = 0.5 + f64::from(u16::from_le_bytes(random_bytes())) / f64::from(u16::MAX) / 2.0;
    whole.mul_f64(part)
}

type DialResult<T, E> = Result<T, Arc<E>>;
type SharedResult<T, E> = Option<DialResult<T, E>>;

/// A result that is known at once, or the dial to wait for.
enum DialStart<T, E> {
    Known(DialResult<T, E>),
    Waiting(watch::Receiver<SharedResult<T, E>>),
}

pub(crate) struct SharedDial<T, E> {
    pub failures: Failures<E>,
    state: Mutex<State<T, E>>,
}

struct State<T, E> {
    /// The connection in use, and the generation of the SVID that opened it.
    open: Option<(u64, T)>,
    dialling: Option<(u64, watch::Receiver<SharedResult<T, E>>)>,
}

impl<T, E> SharedDial<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(crate) fn new(longest_pause: Duration) -> Arc<Self> {
        let state = Mutex::new(State { open: None, dialling: None });
        Arc::new(Self { failures: Failures::new(longest_pause), state })
    }

    /// The connection of this generation if it is `usable`, or the result of the dial that is under way, or of a new
    /// one.
    /// `None` if that dial had no result.
    pub(crate) async fn get<F>(
        self: &Arc<Self>,
        generation: u64,
        usable: impl FnOnce(&T) -> bool,
        dial: impl FnOnce() -> F,
    ) -> Option<DialResult<T, E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut result = match self.begin(generation, usable, dial) {
            DialStart::Known(known) => return Some(known),
            DialStart::Waiting(waits) => waits,
        };
        // No lock is held while it is waited for, and a request that goes away ends no one else's dial.
        result.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Lets go of the connection of an older SVID, which ends when its last request has.
    pub(crate) fn forget(&self, generation: u64) {
        let mut state = self.state();
        if state.open.as_ref().is_some_and(|(opened_by, _)| *opened_by == generation) {
            state.open = None;
        }
    }

    fn begin<F>(
        self: &Arc<Self>,
        generation: u64,
        usable: impl FnOnce(&T) -> bool,
        dial: impl FnOnce() -> F,
    ) -> DialStart<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut state = self.state();
        if let Some((_, open)) =
            state.open.as_ref().filter(|(opened_by, open)| *opened_by == generation && usable(open))
        {
            return DialStart::Known(Ok(open.clone()));
        }
        if let Some((_, waits)) = state.dialling.as_ref().filter(|(with, _)| *with == generation) {
            return DialStart::Waiting(waits.clone());
        }
        if let Some(error) = self.failures.recent(generation) {
            return DialStart::Known(Err(error));
        }
        let (sender, waits) = watch::channel(None);
        state.dialling = Some((generation, waits.clone()));
        let (shared, dialling) = (self.clone(), dial());
        tokio::spawn(async move {
            // Dropped without a result, it would be waited for by all who come later.
            let ends = ResetOnDrop(&shared, generation);
            let made = dialling.await.map_err(Arc::new);
            match &made {
                Ok(connection) => {
                    shared.failures.succeeded();
                    shared.state().open = Some((generation, connection.clone()));
                }
                Err(error) => shared.failures.failed(generation, error.clone()),
            }
            drop(ends);
            sender.send_replace(Some(made));
        });
        DialStart::Waiting(waits)
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears the state for the next dial.
struct ResetOnDrop<'a, T, E>(&'a Arc<SharedDial<T, E>>, u64);

impl<T, E> Drop for ResetOnDrop<'_, T, E> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.dialling.as_ref().is_some_and(|(generation, _)| *generation == self.1) {
            state.dialling = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn concurrent_requests_share_one_dial() {
        let shared = SharedDial::<u32, &str>::new(Duration::from_secs(5));
        // So that the memory of the failure outlasts a slow test.
        shared.failures.state().replace(Failed {
            error: Arc::new("before"),
            generation: 0,
            times: 9,
            until: instant(),
        });
        let dials = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let (shared, dials) = (shared.clone(), dials.clone());
            async move {
                let dial = || async move {
                    dials.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err("no answer")
                };
                shared.get(1, |_| true, dial).await.unwrap()
            }
        };
        let asked: Vec<_> = (0..8).map(|_| tokio::spawn(ask())).collect();
        for one in asked {
            assert_eq!(*one.await.unwrap().unwrap_err(), "no answer");
        }
        assert_eq!(dials.load(Ordering::Relaxed), 1);
        // It has just failed: the next one is answered at once, and with a new SVID it is tried again.
        assert!(ask().await.is_err());
        assert_eq!(dials.load(Ordering::Relaxed), 1);
        assert_eq!(shared.get(2, |_| true, || async { Ok(7) }).await.unwrap().unwrap(), 7);
        assert_eq!(shared.get(2, |_| true, || async { Err("not dialled") }).await.unwrap().unwrap(), 7);
        assert_eq!(shared.get(2, |_| false, || async { Ok(8) }).await.unwrap().unwrap(), 8);
        shared.forget(1);
        assert_eq!(shared.state().open, Some((2, 8)));
        shared.forget(2);
        assert_eq!(shared.state().open, None);
    }

    #[tokio::test]
    async fn a_cancelled_request_keeps_the_shared_dial() {
        let shared = SharedDial::<u32, &str>::new(Duration::from_secs(5));
        let dial = || async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(1)
        };
        let first = tokio::time::timeout(Duration::from_millis(5), shared.get(1, |_| true, dial)).await;
        assert!(first.is_err());
        assert_eq!(shared.get(1, |_| true, || async { Err("a second dial") }).await.unwrap().unwrap(), 1);
    }

    #[test]
    fn pauses_grow_and_end_at_the_longest() {
        for times in 1..40 {
            let pause = pause(times, Duration::from_secs(5));
            assert!(pause >= FIRST_PAUSE / 2 && pause <= Duration::from_secs(5), "{times}: {pause:?}");
        }
        assert!(pause(20, Duration::from_secs(5)) >= Duration::from_millis(2500));
    }
}
