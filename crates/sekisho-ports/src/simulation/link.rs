//! What both ends of a simulated connection share: two pipes, whose bytes arrive later than they were written.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::peer::PeerCredentials;

/// Bytes that were written at once.
pub(super) struct Part {
    pub sent: Duration,
    pub arrives: Duration,
    pub length: usize,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Pipe {
    pub parts: VecDeque<Part>,
    pub bytes: usize,
    pub last: Duration,
    /// When its end arrives.
    pub ends: Option<Duration>,
    /// Its reader is gone, from then on.
    pub unread: Option<Duration>,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Default)]
pub(super) struct Pair {
    pub pipes: [Pipe; 2],
    pub is_reset: bool,
}

/// What both ends of a connection share.
#[derive(Default)]
pub(super) struct Link(Mutex<Pair>);

impl Link {
    pub(super) fn reset(&self) {
        let mut pair = self.lock();
        pair.is_reset = true;
        pair.pipes.iter_mut().for_each(Pipe::wake);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on its way to a listener. One that no listener accepts is reset.
pub(super) struct Arrival {
    pub at: Duration,
    pub id: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The dialler's process on a Unix socket.
    pub peer: Option<PeerCredentials>,
    pub link: Arc<Link>,
    pub is_accepted: bool,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.link.reset();
        }
    }
}
