use tokio::task::{JoinError, JoinHandle};

use crate::Machine;

/// Does work that blocks, away from the threads that serve. A simulated machine has one thread: there it is a task, so
/// that the order of everything follows from the seed, and it begins after the time that it takes.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match Machine::current() {
        Some(machine) => {
            let takes = machine.work_takes();
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                work()
            })
        }
        None => tokio::task::spawn_blocking(work),
    }
}

/// Waits for a future that blocks while it is polled, away from the threads that serve.
///
/// # Errors
/// The future panicked.
pub async fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    if Machine::current().is_some() {
        return Ok(future.await);
    }
    let here = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || here.block_on(future)).await
}

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_real_machine_has_other_threads() {
        let here = current().id();
        let elsewhere: ThreadId = blocking(|| current().id()).await.unwrap();
        assert_ne!(here, elsewhere);
        let machine = Machine::new(1, [10, 0, 0, 1].into(), &crate::Fabric::new(1));
        let simulated = machine.enter(|| blocking(|| current().id()));
        assert_eq!(simulated.await.unwrap(), here);
    }

    #[tokio::test]
    async fn what_blocks_while_polled_holds_up_nothing() {
        let (to, from) = std::sync::mpsc::channel();
        // It ends only if this thread goes on meanwhile.
        let apart = tokio::spawn(apart(async move { from.recv().unwrap() }));
        tokio::task::yield_now().await;
        to.send(current().id()).unwrap();
        assert_eq!(apart.await.unwrap().unwrap(), current().id());
    }
}
