//! What serves once, while it could serve again (law L4). It is kept in memory: a certification is bound to a
//! connection, and no connection outlives this process.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sekisho_types::{Digest, UnixTime};

/// Longer than evidence may be old or ahead: later the gate refuses what it is bound to.
const KEPT_SECONDS: i64 = 150;
/// Each takes a signature of a TPM.
const MOST: usize = 100_000;

#[derive(Default)]
pub(crate) struct UsedOnce(Mutex<Used>);

#[derive(Default)]
struct Used {
    known: BTreeSet<Digest>,
    by_time: VecDeque<(UnixTime, Digest)>,
}

impl UsedOnce {
    /// False: it served already, or too many have served just now.
    pub(crate) fn take(&self, what: Digest, now: UnixTime) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { known, by_time } = &mut *used;
        while let Some((_, old)) = by_time.pop_front_if(|(at, _)| now.seconds_since(*at) > KEPT_SECONDS) {
            known.remove(&old);
        }
        if known.len() >= MOST || !known.insert(what) {
            return false;
        }
        by_time.push_back((now, what));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l4_a_certification_serves_once() {
        let used = UsedOnce::default();
        let (one, now) = (Digest::new([1; 32]), UnixTime::from_seconds(1_800_000_000));
        assert!(used.take(one, now) && !used.take(one, now));
        assert!(!used.take(one, now.plus_seconds(KEPT_SECONDS)));
        assert!(used.take(Digest::new([2; 32]), now));
        // What it was bound to is too old by now.
        assert!(used.take(one, now.plus_seconds(KEPT_SECONDS + 1)));
    }

    #[test]
    fn law_l9_what_served_is_bounded() {
        let used = UsedOnce::default();
        let now = UnixTime::from_seconds(1_800_000_000);
        let digest = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            Digest::new(bytes)
        };
        assert!((0..MOST).all(|n| used.take(digest(n), now)));
        assert!(!used.take(digest(MOST), now));
        assert!(used.take(digest(MOST), now.plus_seconds(KEPT_SECONDS + 1)));
    }
}
