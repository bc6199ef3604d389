//! How many connections a Unix listener takes, in all, from one user and from one process: descriptors are few, and one user
//! must not keep the others out, nor this program from its own files and its server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::places::MAX_CONNECTIONS;
use crate::{Place, Places, UnixPeer};

/// A connection is a socket, and a process that is held by its pidfd.
const DESCRIPTORS: u64 = 2;
const MAX_PER_PROCESS: usize = 1_280;
/// Between two lines in the log about one user, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Users whose refused connections are counted one by one.
const MAX_COUNTED: usize = 1024;

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

pub(crate) struct UnixRoom {
    users: Arc<Places<u32>>,
    processes: Arc<Places<(u32, i32)>>,
    refused: Refused,
}

/// The place of one connection, given back when dropped.
pub(crate) struct UnixPlace {
    _of_user: Place<u32>,
    _of_process: Place<(u32, i32)>,
}

impl UnixRoom {
    pub(crate) fn new() -> Self {
        Self::with(Limits::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)))
    }

    fn with(limits: Limits) -> Self {
        Self {
            users: Places::new(limits.total, limits.per_user),
            processes: Places::new(limits.total, limits.per_process),
            refused: Refused::default(),
        }
    }

    pub(crate) fn take(&self, peer: &UnixPeer) -> Option<UnixPlace> {
        let place = || {
            let of_process = self.processes.take((peer.uid, peer.pid))?;
            Some(UnixPlace { _of_user: self.users.take(peer.uid)?, _of_process: of_process })
        };
        let taken = place();
        if taken.is_none()
            && let Some(count) = self.refused.count(peer.uid, Instant::now())
        {
            tracing::warn!(
                uid = peer.uid,
                pid = peer.pid,
                count,
                "refused: too many connections are open of this user"
            );
        }
        taken
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

    fn peer(uid: u32, pid: i32) -> UnixPeer {
        UnixPeer { pid, uid, gid: uid, pidfd: None, socket: (0, 0) }
    }

    #[test]
    fn law_l9_one_user_with_many_processes_keeps_no_other_out() {
        let room = UnixRoom::with(Limits { total: 40, per_user: 10, per_process: 4 });
        let taken: Vec<_> = (0..100).filter_map(|n| room.take(&peer(7, n % 9))).collect();
        assert_eq!(taken.len(), 10);
        let other: Vec<_> = (0..9).filter_map(|_| room.take(&peer(8, 1))).collect();
        assert_eq!(other.len(), 4, "one process of another user");
        drop(taken);
        // A refused connection keeps no place.
        assert!(room.take(&peer(7, 1)).is_some());
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
        let (refused, start) = (Refused::default(), Instant::now());
        let lines: Vec<_> =
            (0..10_000).filter_map(|n| refused.count(7, start + Duration::from_millis(n * 10))).collect();
        assert!(lines.len() < 10 && lines[0] == 1, "{lines:?}");
        assert!(lines.iter().sum::<u64>() > 5_000);
        assert_eq!(refused.count(8, start), Some(1));
    }
}
