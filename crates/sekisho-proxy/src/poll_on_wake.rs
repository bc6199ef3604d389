//! Polls a rarely woken future without cost beside one that is polled often.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// A future that is polled only when it was woken itself. A connection is polled whenever bytes come, and to poll all
/// that could close it each time would cost as much again.
pub(crate) struct PollOnWake<F>(FuturesUnordered<F>);

impl<F: Future> PollOnWake<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(std::iter::once(future).collect())
    }

    /// Its result, once.
    pub(crate) async fn ready(&mut self) -> F::Output {
        match self.0.next().await {
            Some(output) => output,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_itself_is_woken() {
        let (polls, (wake, woken)) = (Cell::new(0), tokio::sync::oneshot::channel::<()>());
        let mut woken = Box::pin(woken);
        let counted = poll_fn(|context| {
            polls.set(polls.get() + 1);
            woken.as_mut().poll(context).map(|_| ())
        });
        let mut poll_on_wake = PollOnWake::new(counted);
        let mut often = 0;
        let mut busy = Box::pin(poll_fn(|context| {
            often += 1;
            context.waker().wake_by_ref();
            if often < 100 { Poll::Pending } else { Poll::Ready(()) }
        }));
        tokio::select! {
            biased;
            () = busy.as_mut() => {}
            () = poll_on_wake.ready() => panic!("nothing has happened"),
        }
        assert_eq!(polls.get(), 1);
        wake.send(()).unwrap();
        poll_on_wake.ready().await;
        assert_eq!(polls.get(), 2);
    }
}
