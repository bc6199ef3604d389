//! Without the feature `simulation` each machine is real. The types of a simulated one are here so that one code serves
//! both, and have no value, so that the compiler drops what would serve them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sekisho_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::peer::PeerCredentials;

/// A simulated machine: there is none.
pub enum Machine {}

impl Machine {
    pub const fn current() -> Option<Arc<Self>> {
        None
    }

    pub(crate) const fn process(&self) -> Option<PeerCredentials> {
        match *self {}
    }

    pub const fn random(&self) -> u64 {
        match *self {}
    }

    pub const fn device<T>(&self) -> Arc<T> {
        match *self {}
    }

    pub(crate) const fn time_of_day(&self) -> UnixTime {
        match *self {}
    }

    pub(crate) const fn work_takes(&self) -> Duration {
        match *self {}
    }

    pub(crate) const fn opens_stream(&self) -> u64 {
        match *self {}
    }

    pub(crate) async fn stream_passes(&self, _: u64) {
        match *self {}
    }

    pub(crate) const fn fill(&self, _: &mut [u8]) {
        match *self {}
    }
}

pub(crate) enum SimulatedStream {}

impl SimulatedStream {
    pub(crate) async fn connect_tcp(machine: Arc<Machine>, _: SocketAddr) -> io::Result<Self> {
        match *machine {}
    }

    pub(crate) fn connect_unix(machine: &Arc<Machine>, _: &Path, _: PeerCredentials) -> io::Result<Self> {
        match **machine {}
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) const fn remote(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) const fn peer(&self) -> Option<PeerCredentials> {
        match *self {}
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

pub(crate) enum SimulatedListener {}

impl SimulatedListener {
    pub(crate) fn tcp(machine: &Arc<Machine>, _: SocketAddr) -> io::Result<Self> {
        match **machine {}
    }

    pub(crate) fn unix(machine: &Arc<Machine>, _: &Path) -> io::Result<Self> {
        match **machine {}
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) async fn accept(&self) -> io::Result<SimulatedStream> {
        match *self {}
    }
}
