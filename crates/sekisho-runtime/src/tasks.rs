use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tracing::{Instrument, Span};

use crate::Stop;

/// How long a task that failed waits before it runs again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The long-running tasks of a program, each under a name. None ends without being noticed: see [`Tasks::required`] and
/// [`Tasks::restarted`]. Each logs in the span in which it was started.
#[derive(Clone)]
pub struct Tasks {
    stop: Stop,
    /// The part of the program that these are of; none are of the whole.
    part: Option<Arc<str>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<(Option<Arc<str>>, &'static str), TaskStatus>,
    failed: Option<TaskFailure>,
}

/// A task as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskStatus {
    pub running: bool,
    /// How often it failed and was started again.
    pub restarts: u64,
}

/// A required task stopped before the program was asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the task `{task}`{} {ending}, and this program cannot work without it; start it again, and report this as a \
        defect with the log above",
    part.as_ref().map(|part| format!(" of `{part}`")).unwrap_or_default()
)]
pub struct TaskFailure {
    pub part: Option<Arc<str>>,
    pub task: &'static str,
    pub ending: Ending,
}

/// How a task stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Returned,
    Panicked(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("stopped unexpectedly"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl Tasks {
    /// Tasks that are dropped when `stop` is triggered, and that trigger it when they fail.
    pub fn new(stop: Stop) -> Self {
        Self { stop, part: None, state: Arc::default() }
    }

    /// The wish to stop that ends these tasks.
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The tasks of a part of the program, which has a name of its own. The failure of one is the program's.
    #[must_use]
    pub fn of(&self, part: &str) -> Self {
        Self { part: Some(part.into()), ..self.clone() }
    }

    /// Runs a task without which the program cannot work. If it ends or panics before `stop`, `stop` is triggered and
    /// [`Tasks::outcome`] names the task.
    pub fn required(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        // Not waited for: the program ends through `stop`.
        drop(self.finishing(name, async move {
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = task => {}
            }
        }));
    }

    /// As [`Tasks::required`], for a task that sees `stop` itself and has work left to do then.
    pub fn finishing(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let (tasks, task) = (self.clone(), task.in_current_span());
        tasks.started(name);
        tokio::spawn(async move {
            let ending = ending(tokio::spawn(task).await);
            tasks.lock().tasks.entry(tasks.key(name)).or_default().running = false;
            if !tasks.stop.is_triggered() {
                tasks.fail(TaskFailure { part: tasks.part.clone(), task: name, ending });
            }
        })
    }

    /// Runs a task that holds no state between its rounds. If it ends or panics before `stop`, it is logged, counted
    /// and started again after a pause: 1 s at first, doubled each time, at most 60 s.
    pub fn restarted<F>(&self, name: &'static str, task: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tasks, span) = (self.clone(), Span::current());
        tasks.started(name);
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let mut running = AbortOnDrop(tokio::spawn(task().instrument(span.clone())));
                let ending = tokio::select! {
                    biased;
                    () = tasks.stop.wait() => return,
                    ended = &mut running.0 => ending(ended),
                };
                let part = tasks.part.as_deref();
                tracing::error!(part, task = name, %ending, pause = pause.as_secs(), "a task is started again after a \
                    pause");
                tasks.lock().tasks.entry(tasks.key(name)).or_default().running = false;
                tokio::select! {
                    biased;
                    () = tasks.stop.wait() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                let mut state = tasks.lock();
                let status = state.tasks.entry(tasks.key(name)).or_default();
                *status = TaskStatus { running: true, restarts: status.restarts.saturating_add(1) };
            }
        });
    }

    /// Each task of this part and of the whole, by its name.
    pub fn status(&self) -> BTreeMap<&'static str, TaskStatus> {
        let state = self.lock();
        let ours = state.tasks.iter().filter(|((part, _), _)| part.is_none() || *part == self.part);
        ours.map(|((_, name), status)| (*name, *status)).collect()
    }

    /// The failure that triggered `stop`, if one did.
    pub fn outcome(&self) -> Result<(), TaskFailure> {
        self.lock().failed.clone().map_or(Ok(()), Err)
    }

    fn started(&self, name: &'static str) {
        self.lock().tasks.entry(self.key(name)).or_default().running = true;
    }

    fn key(&self, name: &'static str) -> (Option<Arc<str>>, &'static str) {
        (self.part.clone(), name)
    }

    fn fail(&self, failure: TaskFailure) {
        tracing::error!(part = failure.part.as_deref(), task = failure.task, ending = %failure.ending, "a required \
            task stopped; the program stops");
        self.lock().failed.get_or_insert(failure);
        self.stop.trigger();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that does not outlive the one that started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ending(joined: Result<(), JoinError>) -> Ending {
    let Err(error) = joined else { return Ending::Returned };
    let Ok(panic) = error.try_into_panic() else { return Ending::Returned };
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Ending::Panicked(message.unwrap_or("without a message").to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_required_task_that_returns_stops_the_program() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        tasks.required("outbox", async {});
        stop.wait().await;
        assert_eq!(tasks.outcome(), Err(TaskFailure { part: None, task: "outbox", ending: Ending::Returned }));
        assert!(!tasks.status()["outbox"].running);
    }

    #[tokio::test]
    async fn a_panic_of_a_required_task_is_named() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        tasks.required("outbox", async { panic!("index {}", 7) });
        tasks.required("listener", std::future::pending());
        stop.wait().await;
        let failure = tasks.outcome().unwrap_err();
        assert_eq!(failure, TaskFailure { part: None, task: "outbox", ending: Ending::Panicked("index 7".into()) });
        assert!(failure.to_string().starts_with("the task `outbox` panicked: index 7, and"));
    }

    #[tokio::test]
    async fn a_failed_task_is_named_with_its_part() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        let (one, two) = (tasks.of("a.example"), tasks.of("b.example"));
        tasks.required("listener", std::future::pending());
        one.required("outbox", std::future::pending());
        two.required("outbox", async {});
        stop.wait().await;
        let failure = tasks.outcome().unwrap_err().to_string();
        assert!(failure.starts_with("the task `outbox` of `b.example` stopped unexpectedly"), "{failure}");
        let names: Vec<_> = two.status().into_keys().collect();
        assert_eq!(names, ["listener", "outbox"]);
        assert!(!two.status()["outbox"].running);
    }

    #[tokio::test]
    async fn the_first_failure_is_the_reported_one() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        tasks.fail(TaskFailure { part: None, task: "first", ending: Ending::Returned });
        tasks.fail(TaskFailure { part: None, task: "second", ending: Ending::Returned });
        assert_eq!(tasks.outcome().unwrap_err().task, "first");
    }

    #[tokio::test]
    async fn stopping_with_the_program_is_not_a_failure() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        let seen = stop.clone();
        let finished = tasks.finishing("outbox", async move { seen.wait().await });
        tasks.required("listener", std::future::pending());
        assert!(tasks.status()["outbox"].running);
        stop.trigger();
        finished.await.unwrap();
        assert_eq!(tasks.outcome(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarted_task_backs_off() {
        let stop = Stop::new();
        let tasks = Tasks::new(stop.clone());
        let starts = Arc::new(AtomicU64::new(0));
        let counted = starts.clone();
        tasks.restarted("scrub", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { panic!("again") }
        });
        // Pauses of 1, 2, 4, 8, 16, 32, 60, 60 s end within 183 s.
        tokio::time::sleep(Duration::from_millis(182_900)).await;
        assert_eq!(starts.load(Ordering::Relaxed), 8);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(starts.load(Ordering::Relaxed), 9);
        assert_eq!(tasks.status()["scrub"].restarts, 8);
        assert!(!stop.is_triggered());
        stop.trigger();
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(starts.load(Ordering::Relaxed), 9, "nothing is started after the program was asked to stop");
    }
}
