use sekisho_runtime::Stop;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::output::Output;

/// A server or an agent, as a task.
pub struct Role {
    stop: Stop,
    running: JoinHandle<Result<(), String>>,
    output: Output,
}

impl Role {
    /// Starts one and waits until it is ready, or says why it stopped.
    pub(super) async fn start<F>(
        output: &Output,
        run: impl FnOnce(Stop, oneshot::Sender<()>) -> F,
    ) -> Result<Self, String>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (stop, (ready, is_ready)) = (Stop::new(), oneshot::channel());
        let running = tokio::spawn(run(stop.clone(), ready));
        match is_ready.await {
            Ok(()) => Ok(Self { stop, running, output: output.clone() }),
            Err(_) => Err(running.await.unwrap().expect_err("it stopped before it was ready")),
        }
    }

    /// Asks it to stop, as SIGTERM does, and waits until it has.
    pub async fn end(self) {
        self.stop.trigger();
        self.running.await.unwrap().unwrap();
    }

    /// Waits until it stops by itself.
    pub async fn outcome(self) -> Result<(), String> {
        self.running.await.unwrap()
    }

    pub fn has_stopped(&self) -> bool {
        self.running.is_finished()
    }

    /// What all that runs here wrote to the log so far.
    pub fn logged(&self) -> String {
        self.output.text()
    }
}
