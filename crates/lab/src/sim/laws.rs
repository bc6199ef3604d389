//! Laws L12 and L14 between sidecars: what a revoked peer is refused, and what an outage of the server does not end.

use std::time::Duration;

use sekisho_identity::BACKDATE_SECONDS;
use sekisho_ports::now;

use super::here::elapsed;
use super::lives::Life;
use super::model::{Model, Stands};
use super::world::STEP;

/// A revocation is in force everywhere this soon after it was acknowledged, while nothing fails.
pub(super) const IN_FORCE: Duration = Duration::from_millis(600);
/// How soon after a fault an agent follows its server again: its pauses double up to five seconds.
pub(super) const RECOVERY: Duration = Duration::from_secs(8);
/// Clocks are up to this wrong, in seconds.
const WRONG: i64 = 30;
/// An SVID is good from this long before it was issued.
const BACKDATED: Duration = Duration::from_secs(BACKDATE_SECONDS.unsigned_abs());

/// A request, as its caller begins it.
pub(super) struct Call {
    from: String,
    to: String,
    lives: Option<(Life, Life)>,
}

impl Model {
    /// A sidecar starts.
    pub(super) fn begins(&self, name: &str) -> u64 {
        let mut known = self.known();
        known.sidecars.holds.remove(name);
        known.sidecars.away.remove(name);
        known.sidecars.started.insert(name.to_owned(), elapsed());
        known.sidecars.starts += 1;
        known.sidecars.starts
    }

    /// A sidecar stops.
    pub(super) fn stops(&self, name: &str, at: Duration) {
        let mut known = self.known();
        known.sidecars.holds.remove(name);
        known.sidecars.away.insert(name.to_owned(), at);
        known.decisions.stopped.insert((name.to_owned(), at));
    }

    pub(super) fn holds(&self, name: &str, life: Option<Life>) {
        let mut known = self.known();
        match life {
            Some(life) => known.sidecars.holds.insert(name.to_owned(), life),
            None => known.sidecars.holds.remove(name),
        };
    }

    /// Law L12: what a sidecar accepts from the SVID of an entry that was deleted. Law L14: without its server it goes
    /// on as long as the SVIDs live, which the server has signed.
    pub(super) fn accepted(&self, by: &str, entry: Option<&str>) {
        self.count("accepted");
        let gone = self.known().sidecars.centre_gone;
        if let Some(gone) = gone.filter(|gone| elapsed() > *gone + STEP) {
            self.broken("L14", &format!("{by} accepts a request, and all SVIDs expired at {gone:?}, with the server"));
        }
        let (deleted, troubled) = {
            let known = self.known();
            let stands = entry.and_then(|entry| known.entries.get(entry)).map(|entry| entry.stands.clone());
            (stands, known.sidecars.troubled.get(by).copied())
        };
        let Some(Stands::Deleted(at)) = deleted else { return };
        let recovered = troubled.map_or(Duration::ZERO, |troubled| troubled + RECOVERY);
        if elapsed() > at.max(recovered) + IN_FORCE {
            let entry = entry.unwrap_or_default();
            self.broken("L12", &format!("{by} accepts an SVID of {entry}, whose deletion was acknowledged at {at:?}"));
        }
    }

    /// Both identities, if both entries stand and each is good by the other's clock.
    fn lives(&self, from: &str, to: &str) -> Option<(Life, Life)> {
        let known = self.known();
        let life = |name: &str, peer: &str| {
            let (entry, made) = known.sidecars.entries.get(name)?;
            let (entry, life) = (known.entries.get(entry)?, known.sidecars.holds.get(name)?);
            let is_its = entry.stands == Stands::Created && life.since > *made;
            // A clock that was set back may show a time before it was issued.
            let behind = known.sidecars.behind.get(peer).copied().unwrap_or_default();
            let has_begun = elapsed() + BACKDATED > life.since + behind;
            let is_good = is_its && has_begun && life.ends.seconds_since(now()) > WRONG;
            is_good.then_some(*life)
        };
        Some((life(from, to)?, life(to, from)?))
    }

    pub(super) fn calls(&self, from: &str, to: &str) -> Call {
        Call { from: from.to_owned(), to: to.to_owned(), lives: self.lives(from, to) }
    }

    /// Law L14: two that have spoken by identities that both still hold go on, whatever became of server and agents.
    pub(super) fn called(&self, call: &Call, was_accepted: bool) {
        let Some(lives) = call.lives.filter(|lives| self.lives(&call.from, &call.to) == Some(*lives)) else { return };
        let key = (call.from.clone(), lives.0, lives.1);
        if was_accepted {
            self.known().sidecars.spoken.insert(key);
        } else if self.known().sidecars.spoken.contains(&key) {
            self.broken("L14", &format!("{} no longer reaches {}, and both hold what they held", call.from, call.to));
        }
    }
}
