use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request to stop, and the tasks that finish before the program exits.
#[derive(Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// The request alone, for crates that do not know this one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Asks everything to finish.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when stopping was asked for.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Runs a task that the program waits for before it ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for the tasks, at most `seconds`.
    pub async fn drained(&self, seconds: u64) {
        self.tasks.close();
        let limit = std::time::Duration::from_secs(seconds);
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(seconds, tasks = self.tasks.len(), "stopping with work unfinished");
        }
    }
}

/// Triggers `stop` on SIGTERM or SIGINT.
pub fn stop_on_signal(stop: &Stop) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.trigger();
    });
    Ok(())
}
