use tokio::task::JoinHandle;

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
}
