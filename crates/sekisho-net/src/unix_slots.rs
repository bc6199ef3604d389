//! Limits on the connections of a Unix listener: in total, from one user and from one process. Descriptors are scarce.
//! One user must not block the others, nor this program's own files and its connection to the server.
//!
//! While slots are free, each user may have a quarter of them. When all are used, a user with fewer than another gets a
//! slot of the user with the most, so that no number of users blocks a user without a slot. Users of other user
//! namespaces count as one user: a single user may have many thousands of them (subuid(5)).

use std::collections::BTreeMap;
use std::os::linux::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use sekisho_ports::instant;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::UnixPeer;
use crate::slots::MAX_CONNECTIONS;

/// A connection is a socket, and a process that is held by its pidfd.
const DESCRIPTORS: u64 = 2;
const MAX_PER_PROCESS: usize = 1_280;
/// Between two lines in the log about one user, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Users whose refused connections are counted one by one.
const MAX_COUNTED: usize = 1024;
/// Connections that may be open beyond the slots, because others are not closed yet.
const MAX_LEAVING: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    total: usize,
    per_user: usize,
    per_process: usize,
}

impl Limits {
    /// Within so many descriptors, of which some are kept for what is not a connection.
    fn within(descriptors: u64) -> Self {
        let kept = (descriptors / 4).min(1024);
        let total = usize::try_from((descriptors - kept) / DESCRIPTORS).unwrap_or(usize::MAX);
        let total = total.clamp(1, MAX_CONNECTIONS);
        let per_user = (total / 4).max(1);
        Self { total, per_user, per_process: per_user.min(MAX_PER_PROCESS) }
    }
}

/// The owner of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    /// Of another user namespace than ours.
    is_guest: bool,
    uid: u32,
}

impl Owner {
    fn of(peer: &UnixPeer) -> Self {
        Self { is_guest: !is_in_our_user_namespace(peer.pid), uid: peer.uid }
    }
}

/// One that cannot be read counts as another one. The process may have stopped, and its number be another's: then this
/// is wrong for that other one's number of slots, and for nothing else.
fn is_in_our_user_namespace(pid: i32) -> bool {
    let namespace = |of: &str| {
        let meta = std::fs::metadata(format!("/proc/{of}/ns/user")).ok()?;
        Some((meta.st_dev(), meta.st_ino()))
    };
    let own = namespace("self");
    own.is_some() && own == namespace(&pid.to_string())
}

#[derive(Default)]
struct Open {
    all: usize,
    guests: usize,
    /// Connections that lost their slot and are not closed yet.
    leaving: usize,
    /// Counts connections.
    number: u64,
    users: BTreeMap<Owner, UserConnections>,
}

#[derive(Default)]
struct UserConnections {
    processes: BTreeMap<i32, usize>,
    /// The oldest first.
    connections: BTreeMap<u64, (i32, Arc<State>)>,
}

/// What a connection and its slot share.
#[derive(Default)]
pub(crate) struct State {
    /// Whether anything was asked on it.
    pub asked: AtomicBool,
    /// Rings when another user gets its slot.
    pub given_away: CancellationToken,
}

/// Why a connection gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoSlot {
    Process,
    User,
    All,
}

impl NoSlot {
    const fn reason(self) -> &'static str {
        match self {
            Self::Process => "too many connections are open of this process",
            Self::User => "too many connections are open of this user",
            Self::All => "all slots for connections are taken, and no other user has more than this one",
        }
    }
}

impl Open {
    fn of(&self, whose: Owner) -> usize {
        self.users.get(&whose).map_or(0, |user| user.connections.len())
    }

    fn put(&mut self, whose: Owner, pid: i32) -> (u64, Arc<State>) {
        let (number, state) = (self.number, Arc::<State>::default());
        self.number += 1;
        self.all += 1;
        self.guests += usize::from(whose.is_guest);
        let user = self.users.entry(whose).or_default();
        *user.processes.entry(pid).or_default() += 1;
        user.connections.insert(number, (pid, state.clone()));
        (number, state)
    }

    /// Takes a connection out, if it still has a slot.
    fn remove(&mut self, whose: Owner, number: u64) -> Option<Arc<State>> {
        let user = self.users.get_mut(&whose)?;
        let (pid, state) = user.connections.remove(&number)?;
        self.all -= 1;
        self.guests -= usize::from(whose.is_guest);
        if let Some(count) = user.processes.get_mut(&pid) {
            *count -= 1;
            if *count == 0 {
                user.processes.remove(&pid);
            }
        }
        if user.connections.is_empty() {
            self.users.remove(&whose);
        }
        Some(state)
    }

    /// The user whose connection gives way to one of `to`: of those who have the most. The guests are one user first,
    /// and share among themselves what they have.
    fn owner_to_displace(&self, to: Owner) -> Option<Owner> {
        let most = |guests: bool| {
            let users = self.users.iter().filter(|(whose, _)| whose.is_guest == guests);
            users.map(|(whose, user)| (user.connections.len(), *whose)).max_by_key(|(count, _)| *count)
        };
        let of_guests = most(true);
        let of_users = most(false);
        let guests_have_most = self.guests > of_users.map_or(0, |(count, _)| count);
        let (size, (count, whose)) =
            if guests_have_most { (self.guests, of_guests?) } else { (of_users?.0, of_users?) };
        let (size, own) = match (whose.is_guest, to.is_guest) {
            (true, true) => (count, self.of(to)),
            (_, true) => (size, self.guests),
            _ => (size, self.of(to)),
        };
        // Afterwards it has no fewer than the one who got it.
        (size > own + 1).then_some(whose)
    }
}

pub(crate) struct UnixSlots {
    limits: Limits,
    open: Arc<Mutex<Open>>,
    /// Rings when one that gave its slot away is closed.
    left: Arc<Notify>,
    refused: Refused,
    ended: Refused,
}

/// The slot of one connection, released when dropped.
pub(crate) struct UnixSlot {
    open: Arc<Mutex<Open>>,
    whose: Owner,
    number: u64,
    left: Arc<Notify>,
    pub state: Arc<State>,
}

impl Drop for UnixSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if open.remove(self.whose, self.number).is_none() {
            open.leaving -= 1;
            drop(open);
            self.left.notify_waiters();
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnixSlots {
    pub(crate) fn new() -> Self {
        Self::with(Limits::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)))
    }

    fn with(limits: Limits) -> Self {
        Self {
            limits,
            open: Arc::default(),
            left: Arc::default(),
            refused: Refused::default(),
            ended: Refused::default(),
        }
    }

    /// A slot for a connection. It may be another user's until then, whose connection ends.
    pub(crate) fn take(&self, peer: &UnixPeer) -> Option<UnixSlot> {
        self.slot(Owner::of(peer), peer.pid)
    }

    fn slot(&self, whose: Owner, pid: i32) -> Option<UnixSlot> {
        let mut open = lock(&self.open);
        let checked = self.check(&mut open, whose, pid);
        let put = checked.map(|loser| (open.put(whose, pid), loser));
        drop(open);
        match put {
            Ok(((number, state), loser)) => {
                let now = instant();
                if let Some((uid, count)) = loser.and_then(|loser| Some((loser.uid, self.ended.count(loser.uid, now)?)))
                {
                    tracing::warn!(uid, count, "closed: its slot was given to another user; this one has the most");
                }
                Some(UnixSlot { open: self.open.clone(), whose, number, left: self.left.clone(), state })
            }
            Err(full) => {
                if let Some(count) = self.refused.count(whose.uid, instant()) {
                    tracing::warn!(uid = whose.uid, pid, count, "refused: {}", full.reason());
                }
                None
            }
        }
    }

    /// Returns once few connections are open beyond the slots.
    pub(crate) async fn settled(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if lock(&self.open).leaving < MAX_LEAVING {
                return;
            }
            left.await;
        }
    }

    /// Whether there is a slot, and who gave it up for this.
    fn check(&self, open: &mut Open, whose: Owner, pid: i32) -> Result<Option<Owner>, NoSlot> {
        let of_process = open.users.get(&whose).and_then(|user| user.processes.get(&pid)).copied();
        if open.of(whose) >= self.limits.per_user {
            return Err(NoSlot::User);
        }
        if of_process.unwrap_or(0) >= self.limits.per_process {
            return Err(NoSlot::Process);
        }
        if open.all < self.limits.total {
            return Ok(None);
        }
        let loser = open.owner_to_displace(whose).ok_or(NoSlot::All)?;
        let user = open.users.get(&loser).ok_or(NoSlot::All)?;
        // The newest on which nothing was asked, else the newest.
        let idle = |state: &State| !state.asked.load(Ordering::Relaxed);
        let unasked = user.connections.iter().rev().find(|(_, (_, state))| idle(state));
        let number = unasked.or_else(|| user.connections.iter().next_back()).map(|(number, _)| *number);
        let ended = number.and_then(|number| open.remove(loser, number)).ok_or(NoSlot::All)?;
        ended.given_away.cancel();
        open.leaving += 1;
        Ok(Some(loser))
    }
}

/// Refused connections, by user: logged at once, then ever less often.
#[derive(Default)]
struct Refused(Mutex<BTreeMap<u32, Counted>>);

struct Counted {
    unsaid: u64,
    next: Instant,
    pause: Duration,
}

impl Refused {
    /// Counts one more; returns how many there were since the last line, when it is time for the next one.
    fn count(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MAX_COUNTED && !counted.contains_key(&uid) {
            counted.clear();
        }
        let of_user = counted.entry(uid).or_insert(Counted { unsaid: 0, next: now, pause: FIRST_PAUSE });
        of_user.unsaid += 1;
        if now < of_user.next {
            return None;
        }
        // Long quiet starts over.
        let quiet = now.duration_since(of_user.next) > LONGEST_PAUSE;
        of_user.pause = if quiet { FIRST_PAUSE } else { (of_user.pause * 2).min(LONGEST_PAUSE) };
        of_user.next = now + of_user.pause;
        Some(std::mem::take(&mut of_user.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { total: 40, per_user: 10, per_process: 4 };

    const fn user(uid: u32) -> Owner {
        Owner { is_guest: false, uid }
    }

    const fn guest(uid: u32) -> Owner {
        Owner { is_guest: true, uid }
    }

    fn fill(slots: &UnixSlots, users: impl Iterator<Item = Owner>) -> Vec<UnixSlot> {
        users.flat_map(|whose| (0..20).filter_map(move |n| slots.slot(whose, n))).collect()
    }

    fn kept(slots: &[UnixSlot], whose: Owner) -> usize {
        slots.iter().filter(|slot| slot.whose == whose && !slot.state.given_away.is_cancelled()).count()
    }

    #[test]
    fn law_l9_many_processes_of_one_user_block_no_user() {
        let slots = UnixSlots::with(LIMITS);
        let taken: Vec<_> = (0..100).filter_map(|n| slots.slot(user(7), n % 9)).collect();
        assert_eq!(taken.len(), 10);
        let other: Vec<_> = (0..9).filter_map(|_| slots.slot(user(8), 1)).collect();
        assert_eq!(other.len(), 4, "one process of another user");
        drop(taken);
        // A refused connection keeps no slot.
        assert!(slots.slot(user(7), 1).is_some());
    }

    #[test]
    fn law_l9_a_new_user_always_gets_a_connection() {
        let slots = UnixSlots::with(LIMITS);
        let flood = fill(&slots, (1..=30).map(user));
        assert_eq!(lock(&slots.open).all, 40);
        // The first four have filled it, and were cut to the same share as all who came after them.
        assert!((1..=30).all(|uid| (1..=2).contains(&kept(&flood, user(uid)))));
        assert_eq!(lock(&slots.open).leaving, flood.len() - 40);
        let honest: Vec<_> = (0..8).filter_map(|pid| slots.slot(user(99), pid)).collect();
        assert!(!honest.is_empty() && kept(&honest, user(99)) == honest.len());
        // What was given away is not given back a second time.
        drop(flood);
        assert_eq!(lock(&slots.open).all, honest.len());
        drop(honest);
        let open = lock(&slots.open);
        assert!(open.users.is_empty() && (open.all, open.guests, open.leaving) == (0, 0, 0));
    }

    #[test]
    fn law_l9_the_subordinate_users_of_one_user_are_one() {
        let slots = UnixSlots::with(LIMITS);
        let flood: Vec<_> = (0..200).filter_map(|uid| slots.slot(guest(100_000 + uid), 1)).collect();
        assert_eq!(flood.len(), 40, "each has one");
        let honest: Vec<_> = (0..9).filter_map(|pid| slots.slot(user(99), pid)).collect();
        assert_eq!(kept(&honest, user(99)), 9);
        // Among themselves they share as well.
        let slots = UnixSlots::with(LIMITS);
        let flood = fill(&slots, (1..=4).map(guest));
        assert!(slots.slot(guest(5), 1).is_some());
        assert_eq!((1..=4).map(|uid| kept(&flood, guest(uid))).sum::<usize>(), 39);
    }

    #[tokio::test]
    async fn law_l9_displaced_connections_close_first() {
        let slots = UnixSlots::with(LIMITS);
        let flood = fill(&slots, (1..=4).map(user));
        let mut waits = std::pin::pin!(slots.settled());
        let _newcomers: Vec<_> = (10..18).filter_map(|uid| slots.slot(user(uid), 1)).collect();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, waits.as_mut()).await.is_err());
        drop(flood);
        waits.await;
    }

    #[test]
    fn an_idle_connection_is_displaced_first() {
        let slots = UnixSlots::with(LIMITS);
        let flood = fill(&slots, (1..=4).map(user));
        flood.iter().enumerate().for_each(|(n, slot)| slot.state.asked.store(n % 10 != 3, Ordering::Relaxed));
        let _slot = slots.slot(user(9), 1).unwrap();
        let ended: Vec<_> = flood.iter().filter(|slot| slot.state.given_away.is_cancelled()).collect();
        assert!(ended.len() == 1 && !ended[0].state.asked.load(Ordering::Relaxed));
    }

    #[test]
    fn a_process_of_this_namespace_is_local() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_in_our_user_namespace(own) && !is_in_our_user_namespace(i32::MAX));
    }

    #[test]
    fn what_is_taken_leaves_descriptors_for_the_rest() {
        for descriptors in [16, 256, 1024, 20_000, 131_072, u64::MAX] {
            let limits = Limits::within(descriptors);
            let used = limits.total as u64 * DESCRIPTORS;
            assert!(used <= descriptors - (descriptors / 4).min(1024), "{descriptors}: {limits:?}");
            assert!(limits.total >= limits.per_user && limits.per_user >= limits.per_process && limits.per_process > 0);
        }
        assert_eq!(Limits::within(131_072).per_process, 1_280);
    }

    #[test]
    fn refusals_are_counted_and_logged_ever_less_often() {
        let (refused, start) = (Refused::default(), instant());
        let lines: Vec<_> =
            (0..10_000).filter_map(|n| refused.count(7, start + Duration::from_millis(n * 10))).collect();
        assert!(lines.len() < 10 && lines[0] == 1, "{lines:?}");
        assert!(lines.iter().sum::<u64>() > 5_000);
        assert_eq!(refused.count(8, start), Some(1));
    }
}
