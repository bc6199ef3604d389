//! The one HTTP/2 connection to a peer: for callers that speak HTTP/2, and for peers that speak nothing else.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use sekisho_sdk::CurrentIdentity;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer_frames::AnswerFrames;
use crate::answer_head::AnswerError;
use crate::body_filter::Body;
use crate::dialling::{DialError, PeerDialer};
use crate::renewal;
use crate::serving::withdrawn;
use crate::shared_dial::SharedDial;

pub(crate) type Http2Sender = SendRequest<Body>;

pub(crate) struct Http2 {
    dialer: Arc<PeerDialer>,
    connection: Arc<SharedDial<Http2Sender, DialError>>,
}

impl Http2 {
    pub(crate) fn new(dialer: Arc<PeerDialer>, longest_pause: Duration) -> Arc<Self> {
        Arc::new(Self { dialer, connection: SharedDial::new(longest_pause) })
    }

    /// The connection of the current SVID. After a rotation new requests go over a new one, and the old one closes
    /// after its last request.
    pub(crate) async fn sender(self: &Arc<Self>, held: CurrentIdentity) -> Result<Http2Sender, DialError> {
        let (generation, http2) = (held.generation, self.clone());
        let dial = || async move { http2.open(&held).await };
        let dialled = self.connection.get(generation, |sender| !sender.is_closed(), dial).await;
        dialled.ok_or(DialError::GivenUp)?.map_err(DialError::Shared)
    }

    async fn open(&self, held: &CurrentIdentity) -> Result<Http2Sender, DialError> {
        let dialled = self.dialer.dial(&[b"h2"]).await?;
        // Requests on it go on over rotations as long as both ends prove who they are.
        let renewer = self.dialer.renewer(&dialled.peer, held, renewal::OF_HTTP2);
        let tasks = ConnectionTasks::default();
        let end = tasks.end.clone().drop_guard();
        let mut builder = http2::Builder::new(tasks.clone());
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let (identity, shared, generation) =
            (self.dialer.identity.held.clone(), Arc::downgrade(&self.connection), held.generation);
        let (decider, peer) = (self.dialer.decider.clone(), self.dialer.expected.clone());
        let refuse = move |error: AnswerError| decider.refuse("answer", peer.as_str(), &error.to_string());
        let stream = TokioIo::new(AnswerFrames::new(dialled.stream, refuse));
        let (sender, driver) = builder.handshake(stream).await?;
        tokio::spawn(async move {
            let _end = end;
            tokio::select! {
                biased;
                // A connection lives no longer than the SVIDs on it, nor than the identity.
                () = withdrawn(identity.clone()) => {}
                why = renewer.until_refused() => tracing::info!(why, "a connection to a peer was closed"),
                () = async {
                    if let Err(error) = driver.await {
                        tracing::debug!(%error, "a connection to a peer closed");
                    }
                    tasks.finished().await;
                } => {}
                () = drop_after_rotation(identity, shared, generation) => {}
            }
        });
        Ok(sender)
    }
}

/// Runs the tasks of one connection, and ends them with it: the library's own would go on while a stream is open, to a
/// peer that is revoked.
#[derive(Clone, Default)]
struct ConnectionTasks {
    end: CancellationToken,
    tasks: TaskTracker,
}

impl ConnectionTasks {
    /// Returns when all of them have finished by themselves. The driver of a connection returns with its last sender,
    /// before its streams do.
    async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for ConnectionTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                _done = task => {}
            }
        });
    }
}

/// Keeps a connection of an earlier SVID open for the requests that are on it only. Does not return.
async fn drop_after_rotation(
    mut identity: watch::Receiver<Option<CurrentIdentity>>,
    shared: Weak<SharedDial<Http2Sender, DialError>>,
    generation: u64,
) {
    let rotated = |held: &Option<CurrentIdentity>| held.as_ref().is_some_and(|held| held.generation != generation);
    let rotated = identity.wait_for(rotated).await.is_ok();
    if let Some(shared) = shared.upgrade().filter(|_| rotated) {
        shared.forget(generation);
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;

    use super::*;

    #[tokio::test]
    async fn law_l12_the_tasks_of_a_connection_end_with_it() {
        let tasks = ConnectionTasks::default();
        let end = tasks.end.clone().drop_guard();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        for _ in 0..3 {
            let alive = alive.clone();
            tasks.execute(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
        }
        drop(alive);
        let waits = Duration::from_millis(50);
        assert!(tokio::time::timeout(waits, ended.recv()).await.is_err(), "a stream is open");
        let early = tokio::time::timeout(waits, tasks.finished()).await;
        assert!(early.is_err(), "a connection does not end before its streams");
        drop(end);
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), ended.recv()).await.unwrap(), None);
        tokio::time::timeout(Duration::from_secs(10), tasks.finished()).await.unwrap();
    }
}
