//! When authorities come and go: the next is prepared at half life, becomes active before five sixths, and
//! the old one stays in the bundle until the last SVID that it signed has expired.
//!
//! Two times count. Creation follows the clock: a server that was off for long must be able to sign at once. Removal
//! follows the believed time, which a jump of the clock does not move (decisions/0021).

use sekisho_types::UnixTime;

/// A clock that is set back by less leaves its authority in place.
const CLOCK_SLACK_SECONDS: i64 = 300;
/// How soon a removal is tried again that the clock asks for and belief does not.
const BELIEF_SECONDS: i64 = 60;

/// Where an authority stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// In the bundle, not yet signing, so that every verifier knows it first.
    Prepared,
    Active,
    /// In the bundle, no longer signing.
    Old,
}

/// One authority, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub id: String,
    pub slot: Slot,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    /// The latest end of anything that it signed.
    pub signed_until: UnixTime,
}

impl Authority {
    const fn life(&self) -> i64 {
        self.not_after.seconds_since(self.not_before)
    }

    /// When nothing that it signed can be valid any more, by clocks that are up to two hours wrong. A removal cannot be
    /// undone, so a short jump of the clock must not cause it.
    fn remove_at(&self) -> UnixTime {
        let ends = if matches!(self.slot, Slot::Old) { self.signed_until.min(self.not_after) } else { self.not_after };
        ends.plus_seconds(self.life().min(7200))
    }

    /// Whether what it signs now is good, for clocks that differ a little.
    fn is_valid(&self, now: UnixTime) -> bool {
        self.not_before <= now.plus_seconds(CLOCK_SLACK_SECONDS) && now < self.not_after
    }

    fn prepare_at(&self) -> UnixTime {
        self.not_before.plus_seconds(self.life() / 2)
    }

    /// Two thirds: past half life, and before the last sixth in which lifetimes would be cut short.
    fn activate_at(&self) -> UnixTime {
        self.not_before.plus_seconds(self.life() * 2 / 3)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaPlan {
    /// Make a new authority in this slot.
    Create(Slot),
    /// Let the prepared authority sign instead of the active one.
    Activate(String),
    /// Remove an old authority from the bundle.
    Remove(String),
    /// Nothing before this time.
    Wait(UnixTime),
}

/// The authorities of one server.
#[derive(Debug, Clone, Default)]
pub struct CaRotation {
    pub authorities: Vec<Authority>,
}

impl CaRotation {
    pub fn active(&self) -> Option<&Authority> {
        self.in_slot(Slot::Active)
    }

    /// One that can sign now in place of the active one: the prepared one, or an old one after a clock was ahead.
    fn standby(&self, now: UnixTime, slot: Slot) -> Option<&Authority> {
        let fit = self.authorities.iter().filter(|authority| authority.slot == slot && authority.is_valid(now));
        fit.max_by_key(|authority| authority.not_after)
    }

    fn in_slot(&self, slot: Slot) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.slot == slot)
    }

    /// The next step. Carry it out and ask again, until the answer is to wait. `believed` is the time by which
    /// authorities may be taken away; it does not count beyond the clock.
    pub fn plan(&self, now: UnixTime, believed: UnixTime) -> CaPlan {
        let believed = believed.min(now);
        if let Some(ended) = self.authorities.iter().find(|authority| authority.remove_at() <= believed) {
            return CaPlan::Remove(ended.id.clone());
        }
        let Some(active) = self.active().filter(|active| active.is_valid(now)) else {
            let standby = self.standby(now, Slot::Prepared).or_else(|| self.standby(now, Slot::Old));
            let slot = if self.active().is_some() { Slot::Prepared } else { Slot::Active };
            return standby.map_or(CaPlan::Create(slot), |standby| CaPlan::Activate(standby.id.clone()));
        };
        let next = match self.standby(now, Slot::Prepared) {
            None if active.prepare_at() <= now => return CaPlan::Create(Slot::Prepared),
            None => active.prepare_at(),
            Some(prepared) if active.activate_at() <= now => return CaPlan::Activate(prepared.id.clone()),
            Some(_) => active.activate_at(),
        };
        let soon = now.plus_seconds(BELIEF_SECONDS);
        let removals = self.authorities.iter().map(|one| if one.remove_at() <= now { soon } else { one.remove_at() });
        CaPlan::Wait(removals.fold(next, UnixTime::min))
    }

    /// Carries out [`CaPlan::Activate`].
    pub fn activate(&mut self, id: &str) {
        for authority in &mut self.authorities {
            if authority.id == id {
                authority.slot = Slot::Active;
            } else if authority.slot == Slot::Active {
                authority.slot = Slot::Old;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_authorities_are_replaced_once() {
        let start = UnixTime::from_seconds(1_800_000_000);
        let authority = |id: &str, slot, begins: i64| {
            let not_before = start.plus_seconds(begins);
            let not_after = not_before.plus_seconds(3600);
            Authority { id: id.into(), slot, not_before, not_after, signed_until: not_after }
        };
        let authorities = vec![authority("z", Slot::Active, 0), authority("y", Slot::Prepared, 1800)];
        let mut machine = CaRotation { authorities };
        let now = start.plus_seconds(1800 + 3600 + 60);
        let mut made = 0;
        for _ in 0..20 {
            match machine.plan(now, now) {
                CaPlan::Create(slot) => {
                    made += 1;
                    let life = now.seconds_since(start);
                    machine.authorities.push(authority(&format!("n{made}"), slot, life));
                }
                CaPlan::Activate(id) => machine.activate(&id),
                CaPlan::Remove(id) => machine.authorities.retain(|a| a.id != id),
                CaPlan::Wait(_) => break,
            }
        }
        assert_eq!(made, 1);
        assert_eq!(machine.active().map(|active| active.id.as_str()), Some("n1"));
    }

    #[test]
    fn a_clock_that_is_ahead_removes_no_authority() {
        let start = UnixTime::from_seconds(1_800_000_000);
        let mut machine = CaRotation::default();
        let mut made = 0;
        let mut run = |machine: &mut CaRotation, now: UnixTime, believed: UnixTime| {
            for _ in 0..20 {
                match machine.plan(now, believed) {
                    CaPlan::Create(slot) => {
                        made += 1;
                        let not_after = now.plus_seconds(86_400);
                        let (id, not_before) = (format!("ca{made}"), now.plus_seconds(-10));
                        machine.authorities.push(Authority {
                            id,
                            slot,
                            not_before,
                            not_after,
                            signed_until: not_after,
                        });
                    }
                    CaPlan::Activate(id) => machine.activate(&id),
                    CaPlan::Remove(id) => machine.authorities.retain(|a| a.id != id),
                    CaPlan::Wait(until) => {
                        assert!(until > now);
                        return machine.active().unwrap().id.clone();
                    }
                }
            }
            panic!("it does not come to rest");
        };
        assert_eq!(run(&mut machine, start, start), "ca1");
        let ahead = start.plus_seconds(28 * 3600);
        // If the clock is right, this one signs.
        assert_eq!(run(&mut machine, ahead, start), "ca2");
        assert!(machine.authorities.iter().any(|a| a.id == "ca1"), "nothing is gone");
        let right = start.plus_seconds(300);
        assert_eq!(run(&mut machine, right, start), "ca1");
        assert_eq!(run(&mut machine, right.plus_seconds(3600), right.plus_seconds(3600)), "ca1");
        // The clock was right after all: belief comes after it, and only then the old one goes.
        assert_eq!(run(&mut machine, ahead, ahead), "ca2");
        assert!(!machine.authorities.iter().any(|a| a.id == "ca1"));
    }

    /// Runs the machine for a year with authorities of a day and SVIDs of an hour, and checks at each minute that the
    /// authority that signs then has been known to every verifier for an hour, and that no SVID outlives it.
    #[test]
    fn a_year_of_rotation_never_leaves_a_gap() {
        let (mut machine, mut made, mut known_since) = (CaRotation::default(), 0, std::collections::BTreeMap::new());
        let start = UnixTime::from_seconds(1_800_000_000);
        for minute in 0..(365 * 24 * 60) {
            let now = start.plus_seconds(minute * 60);
            loop {
                match machine.plan(now, now) {
                    CaPlan::Create(slot) => {
                        made += 1;
                        let id = format!("ca{made}");
                        known_since.insert(id.clone(), now);
                        let not_after = now.plus_seconds(86_400);
                        let authority = Authority { id, slot, not_before: now, not_after, signed_until: now };
                        machine.authorities.push(authority);
                    }
                    CaPlan::Activate(id) => machine.activate(&id),
                    CaPlan::Remove(id) => machine.authorities.retain(|a| a.id != id),
                    CaPlan::Wait(until) => {
                        assert!(until > now);
                        break;
                    }
                }
            }
            let active = machine.authorities.iter_mut().find(|a| a.slot == Slot::Active).unwrap();
            active.signed_until = now.plus_seconds(3600);
            assert!(active.signed_until <= active.not_after, "an SVID outlives its authority");
            // The first one of all has no predecessor to sign meanwhile.
            let known = now.seconds_since(known_since[&active.id]);
            assert!(active.id == "ca1" || known > 3600, "an authority signs before verifiers know it");
            assert!(machine.authorities.len() <= 3);
        }
        assert!(made > 365 && machine.active().unwrap().id != "ca1", "{made} authorities");
    }
}
