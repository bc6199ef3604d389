//! One simulated connection: two pipes whose bytes arrive later than they were written.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::Fabric;
use crate::Machine;

/// What a pipe holds before its writer waits.
const CAPACITY: usize = 256 * 1024;
/// How often a parted connection looks whether it is joined again.
const LOOK: Duration = Duration::from_millis(50);

/// The process at the connecting end of a simulated Unix socket, as the kernel would name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// Bytes that were written at once.
struct Part {
    sent: Duration,
    arrives: Duration,
    length: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Pipe {
    parts: VecDeque<Part>,
    bytes: usize,
    last: Duration,
    /// When its end arrives.
    ends: Option<Duration>,
    /// Its reader is gone, from then on.
    unread: Option<Duration>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Pair {
    pipes: [Pipe; 2],
    is_reset: bool,
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

    fn lock(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a connection.
pub(super) struct Simulated {
    fabric: Fabric,
    link: Arc<Link>,
    id: u64,
    is_dialler: bool,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub peer: Option<PeerCredentials>,
    /// The machine of this end: that of the dialler, and of the listener once it has accepted.
    machine: Arc<Machine>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Simulated {
    /// Both ends of a new connection; `peer` is the dialler's process on a Unix socket.
    pub(super) fn pair(
        fabric: &Fabric,
        id: u64,
        (from, to): (SocketAddr, SocketAddr),
        machine: &Arc<Machine>,
        peer: Option<PeerCredentials>,
    ) -> (Self, Self, Arc<Link>) {
        let link = Arc::<Link>::default();
        let end = |is_dialler, local, remote| Self {
            fabric: fabric.clone(),
            link: link.clone(),
            id,
            is_dialler,
            local,
            remote,
            peer,
            machine: machine.clone(),
            wait: None,
        };
        (end(true, from, to), end(false, to, from), link)
    }

    /// The listener's end, on the machine that accepts it.
    pub(super) fn accepted_by(mut self, machine: Arc<Machine>) -> Self {
        self.machine = machine;
        self
    }

    const fn outgoing(&self) -> usize {
        self.is_dialler as usize
    }

    /// When what is written now arrives.
    fn arrival(&self, now: Duration) -> Duration {
        if self.peer.is_some() {
            return now;
        }
        now + self.fabric.delay(self.id * 2 + u64::from(self.is_dialler), now)
    }

    /// Whether this end waits now until `at`.
    fn waits(&mut self, at: Duration, now: Duration, context: &mut Context<'_>) -> bool {
        if at <= now {
            self.wait = None;
            return false;
        }
        let mut sleep = Box::pin(tokio::time::sleep(at - now));
        let is_pending = sleep.as_mut().poll(context).is_pending();
        self.wait = is_pending.then_some(sleep);
        is_pending
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let now = self.machine.elapsed();
            let parted = self.peer.is_none() && self.fabric.is_parted(self.local.ip(), self.remote.ip());
            let link = self.link.clone();
            let mut pair = link.lock();
            if pair.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let [to_dialler, to_listener] = &mut pair.pipes;
            let pipe = if self.is_dialler { to_dialler } else { to_listener };
            pipe.reader = Some(context.waker().clone());
            let due = match (pipe.parts.front_mut(), pipe.ends) {
                (Some(part), _) if part.arrives > now || parted => part.arrives,
                (Some(part), _) => {
                    self.machine.hears(part.sent, part.length);
                    let count = part.bytes.len().min(buffer.remaining());
                    buffer.put_slice(part.bytes.get(..count).unwrap_or_default());
                    part.bytes.drain(..count);
                    if part.bytes.is_empty() {
                        pipe.parts.pop_front();
                    }
                    pipe.bytes -= count;
                    if let Some(writer) = pipe.writer.take() {
                        writer.wake();
                    }
                    return Poll::Ready(Ok(()));
                }
                (None, Some(at)) if at > now || parted => at,
                (None, Some(_)) => return Poll::Ready(Ok(())),
                (None, None) => return Poll::Pending,
            };
            drop(pair);
            if self.waits(if parted { due.max(now + LOOK) } else { due }, now, context) {
                return Poll::Pending;
            }
        }
    }

    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.machine.elapsed();
        let arrival = self.arrival(now);
        let outgoing = self.outgoing();
        let mut pair = self.link.lock();
        if pair.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(pipe) = pair.pipes.get_mut(outgoing) else { return Poll::Pending };
        if pipe.ends.is_some() || pipe.unread.is_some_and(|at| at <= now) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(pipe.bytes).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        pipe.last = pipe.last.max(arrival);
        let bytes = bytes.get(..room).unwrap_or_default().to_vec();
        pipe.parts.push_back(Part { sent: now, arrives: pipe.last, length: room, bytes });
        pipe.bytes += room;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(room))
    }

    /// Nothing more is written.
    pub(super) fn end(&self) {
        let arrival = self.arrival(self.machine.elapsed());
        if let Some(pipe) = self.link.lock().pipes.get_mut(self.outgoing()) {
            let last = pipe.last.max(arrival);
            pipe.ends.get_or_insert(last);
            pipe.wake();
        }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.end();
        let arrival = self.arrival(self.machine.elapsed());
        if let Some(pipe) = self.link.lock().pipes.get_mut(1 - self.outgoing()) {
            pipe.unread = Some(arrival);
            pipe.wake();
        }
    }
}
