//! The simulated network: who listens where, how long bytes take, and what is parted or cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::link::{Arrival, Link};
use super::mix::mix;

/// One connection in so many is slow for a while, by this factor.
const SLOW_EVERY: u64 = 64;
const SLOW_FACTOR: u32 = 20;
const FIRST_PORT: u64 = 49_152;

struct State {
    seed: u64,
    least: Duration,
    spread: Duration,
    connections: u64,
    tcp: BTreeMap<SocketAddr, UnboundedSender<Arrival>>,
    unix: BTreeMap<PathBuf, UnboundedSender<Arrival>>,
    parted: BTreeSet<(IpAddr, IpAddr)>,
    open: Vec<(IpAddr, IpAddr, Weak<Link>)>,
}

/// A network; cheap to clone.
#[derive(Clone)]
pub struct Fabric(Arc<Mutex<State>>);

impl Fabric {
    pub fn new(seed: u64) -> Self {
        let (least, spread) = (Duration::from_millis(2), Duration::from_millis(8));
        let (tcp, unix, parted) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(State { seed, least, spread, connections: 0, tcp, unix, parted, open: vec![] })))
    }

    /// Bytes take at least `least`, and up to `spread` more.
    pub fn set_delay(&self, least: Duration, spread: Duration) {
        let mut state = self.state();
        (state.least, state.spread) = (least, spread);
    }

    /// Nothing passes between two addresses until they are joined again; what was on its way waits.
    pub fn part(&self, a: IpAddr, b: IpAddr) {
        self.state().parted.insert((a.min(b), a.max(b)));
    }

    pub fn join(&self, a: IpAddr, b: IpAddr) {
        self.state().parted.remove(&(a.min(b), a.max(b)));
    }

    pub fn join_all(&self) {
        self.state().parted.clear();
    }

    /// Ends every connection between two addresses; what was on its way is lost.
    pub fn cut(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.state();
        state.open.retain(|(_, _, link)| link.strong_count() > 0);
        let between = state.open.iter().filter(|(from, to, _)| (*from, *to) == (a, b) || (*from, *to) == (b, a));
        let links: Vec<_> = between.filter_map(|(_, _, link)| link.upgrade()).collect();
        drop(state);
        links.iter().for_each(|link| link.reset());
    }

    pub(super) fn is_parted(&self, a: IpAddr, b: IpAddr) -> bool {
        let state = self.state();
        !state.parted.is_empty() && state.parted.contains(&(a.min(b), a.max(b)))
    }

    /// How long what connection `id` is given at `now` takes. It follows from the moment, not from how much was sent
    /// before: the length of a signature must not change what comes after it.
    pub(super) fn delay(&self, id: u64, now: Duration) -> Duration {
        let state = self.state();
        let moment = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let drawn = mix(state.seed ^ mix(id) ^ mix(moment));
        let spread = u64::try_from(state.spread.as_micros()).unwrap_or(u64::MAX).max(1);
        let delay = state.least + Duration::from_micros(drawn % spread);
        // Seconds of slowness belong to a connection, not to a byte.
        let slow = mix(state.seed ^ mix(id ^ (moment >> 12))).is_multiple_of(SLOW_EVERY);
        if slow { delay * SLOW_FACTOR } else { delay }
    }

    pub(super) fn listen_tcp(&self, address: SocketAddr) -> io::Result<(SocketAddr, UnboundedReceiver<Arrival>)> {
        let mut state = self.state();
        let address = if address.port() == 0 { SocketAddr::new(address.ip(), state.port()) } else { address };
        if state.tcp.get(&address).is_some_and(|taken| !taken.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, arrivals) = unbounded_channel();
        state.tcp.insert(address, sender);
        Ok((address, arrivals))
    }

    pub(super) fn listen_unix(&self, path: &Path) -> io::Result<UnboundedReceiver<Arrival>> {
        let mut state = self.state();
        if state.unix.get(path).is_some_and(|taken| !taken.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, arrivals) = unbounded_channel();
        state.unix.insert(path.to_owned(), sender);
        Ok(arrivals)
    }

    /// A port for the dialler of a new connection, and the connection's number.
    pub(super) fn new_connection(&self) -> (u16, u64) {
        let mut state = self.state();
        (state.port(), state.connections)
    }

    /// Sends a connection to the listener at its address.
    pub(super) fn dial_tcp(&self, arrival: Arrival) -> io::Result<()> {
        let mut state = self.state();
        let listener = state.tcp.get(&arrival.to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        let open = (arrival.from.ip(), arrival.to.ip(), Arc::downgrade(&arrival.link));
        listener.send(arrival).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        state.open.push(open);
        Ok(())
    }

    /// Sends a connection to the listener at `path`.
    pub(super) fn dial_unix(&self, path: &Path, arrival: Arrival) -> io::Result<()> {
        let listener = self.state().unix.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        listener.send(arrival).map_err(|_| io::ErrorKind::ConnectionRefused.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A port that no connection had for long, and a new number for the connection.
    fn port(&mut self) -> u16 {
        self.connections += 1;
        u16::try_from(FIRST_PORT + self.connections % (65_536 - FIRST_PORT)).unwrap_or(u16::MAX)
    }
}
