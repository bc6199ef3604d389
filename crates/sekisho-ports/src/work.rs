use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::Notify;
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

/// Waits for a future that blocks while it is polled, away from the threads that serve. While it waits for others, it
/// takes no thread.
///
/// # Errors
/// The future panicked.
pub async fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    if Machine::current().is_some() {
        return Ok(future.await);
    }
    let (here, woken) = (tokio::runtime::Handle::current(), Arc::new(Woken(Notify::new())));
    let mut future = Box::pin(future);
    loop {
        let (here, waker) = (here.clone(), Waker::from(woken.clone()));
        let poll = move || {
            let _entered = here.enter();
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            (polled, future)
        };
        let (polled, left) = tokio::task::spawn_blocking(poll).await?;
        match polled {
            Poll::Ready(value) => return Ok(value),
            Poll::Pending => woken.0.notified().await,
        }
        future = left;
    }
}

/// Remembers that a future was woken while it was polled.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
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

    #[tokio::test]
    async fn what_blocks_while_polled_holds_up_nothing() {
        let (to, from) = std::sync::mpsc::channel();
        // It ends only if this thread goes on meanwhile.
        let apart = tokio::spawn(apart(async move { from.recv().unwrap() }));
        tokio::task::yield_now().await;
        to.send(current().id()).unwrap();
        assert_eq!(apart.await.unwrap().unwrap(), current().id());
    }

    #[test]
    fn what_waits_apart_takes_no_thread() {
        // One thread for work that blocks.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (to, from) = tokio::sync::oneshot::channel();
            let waits = tokio::spawn(apart(async move { from.await.unwrap() }));
            tokio::task::yield_now().await;
            assert_eq!(apart(async { 7 }).await.unwrap(), 7);
            to.send(8).unwrap();
            assert_eq!(waits.await.unwrap().unwrap(), 8);
            // A panic is the caller's to judge.
            assert!(apart(async { panic!("on purpose") }).await.unwrap_err().is_panic());
        });
    }
}
