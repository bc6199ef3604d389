//! When authorities come and go: the next is prepared at half life, becomes active before five sixths, and
//! the old one stays in the bundle until the last SVID that it signed has ended.

use sekisho_types::UnixTime;

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

    /// When nothing that it signed can be valid any more, by clocks that are up to two hours wrong. What is removed
    /// is gone: a clock that jumped ahead for a moment must not be the reason.
    fn remove_at(&self) -> UnixTime {
        let ends = if matches!(self.slot, Slot::Old) { self.signed_until.min(self.not_after) } else { self.not_after };
        ends.plus_seconds(self.life().min(7200))
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
    /// Let the prepared authority sign and the active one rest.
    Activate(String),
    /// Take an old authority out of the bundle.
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

    /// One that is prepared and has not ended: after a long stop there may be one that has.
    fn prepared(&self, now: UnixTime) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.slot == Slot::Prepared && authority.not_after > now)
    }

    fn in_slot(&self, slot: Slot) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.slot == slot)
    }

    /// The next step. Carry it out and ask again, until the answer is to wait.
    pub fn plan(&self, now: UnixTime) -> CaPlan {
        if let Some(ended) = self.authorities.iter().find(|authority| authority.remove_at() <= now) {
            return CaPlan::Remove(ended.id.clone());
        }
        let Some(active) = self.active().filter(|active| active.not_after > now) else {
            let slot = if self.active().is_some() { Slot::Prepared } else { Slot::Active };
            let ready = self.prepared(now);
            return ready.map_or(CaPlan::Create(slot), |prepared| CaPlan::Activate(prepared.id.clone()));
        };
        let next = match self.prepared(now) {
            None if active.prepare_at() <= now => return CaPlan::Create(Slot::Prepared),
            None => active.prepare_at(),
            Some(prepared) if active.activate_at() <= now => return CaPlan::Activate(prepared.id.clone()),
            Some(_) => active.activate_at(),
        };
        CaPlan::Wait(self.authorities.iter().map(Authority::remove_at).fold(next, UnixTime::min))
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
    fn a_server_that_was_off_until_both_authorities_ended_makes_one_new_pair_and_no_more() {
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
            match machine.plan(now) {
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

    /// Runs the machine for a year with authorities of a day and SVIDs of an hour, and checks at each minute that the
    /// authority that signs then has been known to every verifier for an hour, and that no SVID outlives it.
    #[test]
    fn a_year_of_rotation_never_leaves_a_gap() {
        let (mut machine, mut made, mut known_since) = (CaRotation::default(), 0, std::collections::BTreeMap::new());
        let start = UnixTime::from_seconds(1_800_000_000);
        for minute in 0..(365 * 24 * 60) {
            let now = start.plus_seconds(minute * 60);
            loop {
                match machine.plan(now) {
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
