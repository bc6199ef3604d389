//! Which sockets belong to a process and its descendants. One question to the kernel names one socket and its user;
//! descriptors are read only where the user fits, and one reading serves all who wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::socket_cookie;
use sekisho_ports::instant;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::family::{Hints, Search, Wanted, start_time, users};
use crate::holders::holders_within;
use crate::inet_diag::{TcpSocket, TcpState, tcp_listeners, tcp_socket, tcp_socket_with_cookie};
use crate::{HostError, Process, is_family};

/// The owner of the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The process or one of its descendants holds it.
    Workload,
    /// Another process of this user holds it: which one, if that was found out.
    Other { uid: u32, pid: Option<i32> },
    /// There is no such connection (any more): what can be read from it was written by an unknown process.
    Gone,
}

/// The number of a socket, never given to another (SO_COOKIE).
pub fn cookie_of(socket: impl AsFd) -> std::io::Result<u64> {
    Ok(socket_cookie(socket)?)
}

/// Whether some process still has this socket.
fn is_still_held(socket: &TcpSocket) -> Result<bool, HostError> {
    let now = tcp_socket_with_cookie(socket.local, socket.remote, socket.cookie)?;
    Ok(now.is_some_and(|now| now.inode == socket.inode))
}

/// A holder of a descriptor, by number and start time.
type Holder = (i32, u64);

/// The listeners at an address, after a search.
#[derive(Debug, Default)]
struct Listening {
    /// By the socket's inode.
    holders: BTreeMap<u32, Holder>,
    /// Users that accept connections on it.
    users: BTreeSet<u32>,
}

/// One process with its descendants, asked what is theirs.
pub struct Ownership {
    process: Arc<Process>,
    listening: Mutex<BTreeMap<SocketAddr, Listening>>,
    scans: Mutex<Scans>,
    /// When another user's process was last looked for.
    named: Mutex<Option<Instant>>,
}

/// Between two looks for the number of a process that is refused, and the descriptors that one look may read: the
/// process that dials decides how often there is one to name, and how much there is to read.
const NAME_EVERY: Duration = Duration::from_secs(1);
const NAME_WITHIN: u32 = 20_000;

/// Hears which member of the family holds a socket.
type Answer = oneshot::Sender<Result<Option<i32>, HostError>>;

#[derive(Default)]
struct Scans {
    waiting: Vec<(Wanted, Answer)>,
    /// Where the last one was found.
    hints: Hints,
    running: bool,
}

impl Ownership {
    pub fn of(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self { process, listening: Mutex::default(), scans: Mutex::default(), named: Mutex::default() })
    }

    pub const fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Who holds the other end of an accepted loopback connection with these ends and this `cookie_of` it.
    ///
    /// The peer's socket comes first and ours last: two live sockets with the same ends cannot exist, so if ours is
    /// still connected after the peer's was found, they are the two ends of one connection. A connection that was
    /// reset, whose port another process has by now, is `Gone`. A peer that has sent its last byte still holds its end.
    pub async fn of_tcp_peer(
        self: &Arc<Self>,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: u64,
    ) -> Result<Owner, HostError> {
        let Some(peer) = tcp_socket(remote, local)? else { return Ok(Owner::Gone) };
        if !matches!(peer.state, TcpState::Established | TcpState::HalfClosed) || peer.inode == 0 {
            return Ok(Owner::Gone);
        }
        let held = self.holder(Wanted { inode: peer.inode, uid: Some(peer.uid) }).await?;
        let own = tcp_socket_with_cookie(local, remote, cookie)?;
        if !own.is_some_and(|own| matches!(own.state, TcpState::Established | TcpState::CloseWait)) {
            return Ok(Owner::Gone);
        }
        Ok(match held {
            Some(_) => Owner::Workload,
            // It may have been the workload's until it was closed, which accuses no one.
            None if !is_still_held(&peer)? => Owner::Gone,
            None => self.other(peer.uid, peer.inode).await,
        })
    }

    /// Who answers a loopback connection from `local` (ours) to the service at `remote`.
    ///
    /// All listeners that could have taken it must be the workload's: of two, the kernel chooses. If it has been
    /// accepted, the user who accepted it must be one of the workload's too, since a listener may have been another's a
    /// moment ago.
    pub async fn of_tcp_service(self: &Arc<Self>, local: SocketAddr, remote: SocketAddr) -> Result<Owner, HostError> {
        let Some(taken) = tcp_socket(remote, local)? else { return Ok(Owner::Gone) };
        if matches!(taken.state, TcpState::Other | TcpState::Listen) {
            return Ok(Owner::Gone);
        }
        let listeners = self.of_listeners(remote).await?;
        if listeners != Owner::Workload {
            return Ok(listeners);
        }
        // Not accepted yet: it waits at a listener, and all of them are the workload's.
        if taken.inode == 0 || self.listening().get(&remote).is_some_and(|known| known.users.contains(&taken.uid)) {
            return Ok(Owner::Workload);
        }
        if self.holder(Wanted { inode: taken.inode, uid: Some(taken.uid) }).await?.is_none() {
            let other = is_still_held(&taken)?;
            return Ok(if other { self.other(taken.uid, taken.inode).await } else { Owner::Gone });
        }
        if let Some(known) = self.listening().get_mut(&remote) {
            known.users.insert(taken.uid);
        }
        Ok(Owner::Workload)
    }

    /// Who is behind a Unix connection: the process that the kernel recorded, by its pidfd if the kernel gives one.
    pub fn of_unix_peer(&self, pid: i32, uid: u32, pidfd: Option<OwnedFd>) -> Result<Owner, HostError> {
        let peer = match pidfd {
            Some(pidfd) => Process::hold(pid, pidfd)?,
            None => Process::open(pid)?,
        };
        let ours = is_family(&self.process, pid)?;
        // While it lives, its number belongs to no other process.
        peer.check_alive()?;
        Ok(if ours { Owner::Workload } else { Owner::Other { uid, pid: Some(pid) } })
    }

    /// What is known of the listeners at an address is looked up again, for example after a connect that failed.
    pub fn forget_listener(&self, address: SocketAddr) {
        self.listening().remove(&address);
    }

    /// Whose the listeners at `address` are. What was found is kept by inode, and is good while the listeners are the
    /// same and their holders live.
    async fn of_listeners(self: &Arc<Self>, address: SocketAddr) -> Result<Owner, HostError> {
        let now = tcp_listeners(address)?;
        self.process.check_alive()?;
        let known = |holders: &BTreeMap<u32, Holder>| {
            let same = holders.keys().copied().eq(now.iter().map(|found| found.inode).collect::<BTreeSet<_>>());
            same && !holders.is_empty() && holders.values().all(|(pid, start)| start_time(*pid) == Some(*start))
        };
        if self.listening().get(&address).is_some_and(|listening| known(&listening.holders)) {
            return Ok(Owner::Workload);
        }
        self.forget_listener(address);
        let mut fresh = Listening::default();
        for listener in &now {
            // Its maker may be another user: systemd makes sockets for those it starts.
            let holder = self.holder(Wanted { inode: listener.inode, uid: None }).await?;
            let Some((pid, start)) = holder.and_then(|pid| Some((pid, start_time(pid)?))) else {
                return Ok(self.other(listener.uid, listener.inode).await);
            };
            fresh.users.extend(users(pid));
            fresh.holders.insert(listener.inode, (pid, start));
        }
        if fresh.holders.is_empty() {
            // It was closed since.
            return Ok(Owner::Gone);
        }
        self.listening().insert(address, fresh);
        Ok(Owner::Workload)
    }

    /// Another process, with its number where that can be had now: it is for the record only.
    async fn other(&self, uid: u32, inode: u32) -> Owner {
        let is_time = {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            let is_time = named.is_none_or(|at| at.elapsed() >= NAME_EVERY);
            if is_time {
                *named = Some(instant());
            }
            is_time
        };
        let look = move || holders_within(NAME_WITHIN, &[inode].into(), &[uid].into()).ok();
        let found = if is_time { tokio::task::spawn_blocking(look).await.ok().flatten() } else { None };
        Owner::Other { uid, pid: found.and_then(|found| found.held.first().map(|(_, pid)| *pid)) }
    }

    /// The member of the family that holds a socket, from a reading that began after this call.
    async fn holder(self: &Arc<Self>, wanted: Wanted) -> Result<Option<i32>, HostError> {
        let (answer, hears) = oneshot::channel();
        let start = {
            let mut scans = self.scans();
            scans.waiting.push((wanted, answer));
            !std::mem::replace(&mut scans.running, true)
        };
        if start {
            let ownership = self.clone();
            tokio::task::spawn_blocking(move || ownership.scan());
        }
        hears.await.unwrap_or(Err(HostError::Stopped(self.process.pid())))
    }

    /// Answers those who wait, all of them by one reading, until no request is left.
    fn scan(&self) {
        loop {
            let (waiting, hints) = {
                let mut scans = self.scans();
                scans.running = !scans.waiting.is_empty();
                (std::mem::take(&mut scans.waiting), std::mem::take(&mut scans.hints))
            };
            if waiting.is_empty() {
                self.scans().hints = hints;
                return;
            }
            let wanted = waiting.iter().map(|(wanted, _)| *wanted).collect();
            let search = Search::run(self.process.pid(), wanted, hints);
            for (wanted, answer) in waiting {
                let held = match (search.found.get(&wanted), search.unread.get(&wanted)) {
                    (None, Some(error)) => Err(HostError::Descriptors(error.clone())),
                    (held, _) => self.process.check_alive().map(|()| held.copied()),
                };
                // The connection may be gone.
                let _gone = answer.send(held);
            }
            self.scans().hints = search.hints;
        }
    }

    fn listening(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scans(&self) -> MutexGuard<'_, Scans> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with};

    use super::*;

    fn ownership() -> Arc<Ownership> {
        Ownership::of(Arc::new(Process::open(std::process::id().cast_signed()).unwrap()))
    }

    /// A connection from a chosen port, which a reset frees at once.
    fn dial_from(port: u16, to: SocketAddr) -> TcpStream {
        // A child that another test starts keeps a copy of every descriptor until it runs its program.
        for _ in 0..100 {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            set_socket_reuseaddr(&socket, true).unwrap();
            bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            match connect(&socket, &to) {
                Ok(()) => return socket.into(),
                Err(rustix::io::Errno::ADDRNOTAVAIL) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("port {port} is not free within a second");
    }

    fn reset(client: TcpStream) {
        set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }

    #[tokio::test]
    async fn law_l11_a_reused_port_does_not_change_the_owner() {
        let (ownership, listener) = (ownership(), TcpListener::bind("127.0.0.1:0").unwrap());
        let at = listener.local_addr().unwrap();
        for _ in 0..50 {
            // Another's connection is accepted and its ends are read; then it is reset, with bytes left in our buffer.
            let other = dial_from(0, at);
            std::io::Write::write_all(&mut &other, b"POST /forged HTTP/1.1\r\n\r\n").unwrap();
            let (accepted, remote) = listener.accept().unwrap();
            let cookie = cookie_of(&accepted).unwrap();
            reset(other);
            // The workload, which is this process, dials from the port that is free again.
            let dialled = dial_from(remote.port(), at);
            assert_eq!(ownership.of_tcp_peer(at, remote, cookie).await.unwrap(), Owner::Gone);
            let (second, _) = listener.accept().unwrap();
            let own = ownership.of_tcp_peer(at, remote, cookie_of(&second).unwrap()).await.unwrap();
            assert_eq!(own, Owner::Workload);
            // A reset leaves no TIME_WAIT, in which the next round could not use the port.
            reset(dialled);
        }
    }

    #[tokio::test]
    async fn only_a_half_close_keeps_the_owner() {
        let (ownership, listener) = (ownership(), TcpListener::bind("127.0.0.1:0").unwrap());
        let at = listener.local_addr().unwrap();
        let client = dial_from(0, at);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let (accepted, remote) = listener.accept().unwrap();
        let cookie = cookie_of(&accepted).unwrap();
        assert_eq!(ownership.of_tcp_peer(at, remote, cookie).await.unwrap(), Owner::Workload);
        drop(client);
        // A child that another test starts may keep a copy for a moment.
        let mut found = Owner::Workload;
        for _ in 0..100 {
            found = ownership.of_tcp_peer(at, remote, cookie).await.unwrap();
            if found == Owner::Gone {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(found, Owner::Gone);
    }

    #[tokio::test]
    async fn a_replaced_listener_is_searched_again() {
        let ownership = ownership();
        let reusable = || {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
            socket
        };
        let first = reusable();
        bind(&first, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&first, 8).unwrap();
        let at = SocketAddr::try_from(getsockname(&first).unwrap()).unwrap();
        let dial = async || {
            let client = TcpStream::connect(at).unwrap();
            ownership.of_tcp_service(client.local_addr().unwrap(), at).await.unwrap()
        };
        assert_eq!(dial().await, Owner::Workload);
        // A child that outlives its parent is of no family, and takes a copy of a second listener with it.
        let second = reusable();
        bind(&second, &at).unwrap();
        rustix::net::listen(&second, 8).unwrap();
        let orphan = std::process::Command::new("sh")
            .args(["-c", "exec 3<&0; sleep 60 <&3 >/dev/null 2>&1 & echo $!"])
            .stdin(std::process::Stdio::from(second))
            .output()
            .unwrap();
        let orphan: i32 = String::from_utf8(orphan.stdout).unwrap().trim().parse().unwrap();
        let found = dial().await;
        rustix::process::kill_process(rustix::process::Pid::from_raw(orphan).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        assert!(
            found == Owner::Gone || found == Owner::Other { uid: crate::own_uid(), pid: Some(orphan) },
            "{found:?}"
        );
    }

    /// What a check costs while many connections and descriptors are open. Run by hand: `--ignored --nocapture`.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a measurement"]
    async fn what_a_check_costs() {
        let (ownership, listener) = (ownership(), TcpListener::bind("127.0.0.1:0").unwrap());
        let at = listener.local_addr().unwrap();
        let _limit = rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit { current: Some(20_000), maximum: Some(20_000) },
        );
        let mut held = vec![];
        for open in [10usize, 1000, 8000] {
            while held.len() < open {
                held.push((TcpStream::connect(at).unwrap(), listener.accept().unwrap()));
            }
            let client = TcpStream::connect(at).unwrap();
            let (accepted, remote) = listener.accept().unwrap();
            let (cookie, rounds) = (cookie_of(&accepted).unwrap(), 200);
            let began = instant();
            for _ in 0..rounds {
                assert_eq!(ownership.of_tcp_peer(at, remote, cookie).await.unwrap(), Owner::Workload);
            }
            let peer = began.elapsed() / rounds;
            let began = instant();
            for _ in 0..rounds {
                assert_eq!(ownership.of_tcp_service(remote, at).await.unwrap(), Owner::Workload);
            }
            let service = began.elapsed() / rounds;
            let began = instant();
            for _ in 0..rounds {
                tcp_socket(remote, at).unwrap();
            }
            let lookup = began.elapsed() / rounds;
            let began = instant();
            for _ in 0..rounds {
                tcp_listeners(at).unwrap();
            }
            let listeners = began.elapsed() / rounds;
            println!(
                "{open} connections: peer {peer:?}, service {service:?}, lookup {lookup:?}, listeners {listeners:?}"
            );
            drop(client);
        }
    }
}
