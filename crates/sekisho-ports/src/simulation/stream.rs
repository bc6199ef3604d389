//! One end of a simulated connection, on its machine.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::fabric::Fabric;
use super::link::{Arrival, Link, Part};
use super::machine::Machine;
use crate::peer::PeerCredentials;

/// What a pipe holds before its writer waits.
const CAPACITY: usize = 256 * 1024;
/// How often a parted connection looks whether it is joined again.
const LOOK: Duration = Duration::from_millis(50);

/// One end of a connection.
pub(crate) struct SimulatedStream {
    fabric: Fabric,
    link: Arc<Link>,
    id: u64,
    is_dialler: bool,
    local: SocketAddr,
    remote: SocketAddr,
    peer: Option<PeerCredentials>,
    /// The machine of this end: that of the dialler, and of the listener once it has accepted.
    machine: Arc<Machine>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl SimulatedStream {
    fn end_of(
        machine: Arc<Machine>,
        (link, id, peer): (Arc<Link>, u64, Option<PeerCredentials>),
        is_dialler: bool,
        (local, remote): (SocketAddr, SocketAddr),
    ) -> Self {
        Self { fabric: machine.fabric().clone(), link, id, is_dialler, local, remote, peer, machine, wait: None }
    }

    /// Connects over the machine's network.
    pub(crate) async fn connect_tcp(machine: Arc<Machine>, to: SocketAddr) -> io::Result<Self> {
        let fabric = machine.fabric();
        let (port, id) = fabric.new_connection();
        let from = SocketAddr::new(machine.address(), port);
        let way = fabric.delay(id, machine.elapsed());
        while fabric.is_parted(from.ip(), to.ip()) {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(way).await;
        let link = Arc::<Link>::default();
        let at = machine.elapsed() + way;
        fabric.dial_tcp(Arrival { at, id, from, to, peer: None, link: link.clone(), is_accepted: false })?;
        Ok(Self::end_of(machine, (link, id, None), true, (from, to)))
    }

    /// Connects to a socket on the machine, as a process with these credentials.
    pub(crate) fn connect_unix(machine: &Arc<Machine>, path: &Path, peer: PeerCredentials) -> io::Result<Self> {
        let fabric = machine.fabric();
        let (port, id) = fabric.new_connection();
        let here = SocketAddr::new(machine.address(), port);
        let (at, link, peer) = (machine.elapsed(), Arc::<Link>::default(), Some(peer));
        let arrival = Arrival { at, id, from: here, to: here, peer, link: link.clone(), is_accepted: false };
        fabric.dial_unix(path, arrival)?;
        Ok(Self::end_of(machine.clone(), (link, id, peer), true, (here, here)))
    }

    /// The listener's end, on the machine that accepts it.
    pub(super) fn accepted_by(machine: Arc<Machine>, mut arrival: Arrival) -> Self {
        arrival.is_accepted = true;
        let shared = (arrival.link.clone(), arrival.id, arrival.peer);
        Self::end_of(machine, shared, false, (arrival.to, arrival.from))
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(crate) const fn peer(&self) -> Option<PeerCredentials> {
        self.peer
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

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
                    self.machine.note_answer(part.sent, part.length);
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

    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
    fn end(&self) {
        let arrival = self.arrival(self.machine.elapsed());
        if let Some(pipe) = self.link.lock().pipes.get_mut(self.outgoing()) {
            let last = pipe.last.max(arrival);
            pipe.ends.get_or_insert(last);
            pipe.wake();
        }
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(context, buffer)
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.end();
        let arrival = self.arrival(self.machine.elapsed());
        if let Some(pipe) = self.link.lock().pipes.get_mut(1 - self.outgoing()) {
            pipe.unread = Some(arrival);
            pipe.wake();
        }
    }
}
