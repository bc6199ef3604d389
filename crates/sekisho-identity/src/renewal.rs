//! When an SVID is renewed: at half its life, spread so that a fleet does not ask at once.

use sekisho_types::UnixTime;

/// Half of the time between `not_before` and `not_after`.
pub const fn renew_at(not_before: UnixTime, not_after: UnixTime) -> UnixTime {
    not_before.plus_seconds(not_after.seconds_since(not_before) / 2)
}

/// Half life, moved by up to a tenth of the life; `random` is any number, drawn by the caller.
pub fn renew_at_with_jitter(not_before: UnixTime, not_after: UnixTime, random: u32) -> UnixTime {
    let life_millis = not_after.millis().saturating_sub(not_before.millis()).max(0);
    let tenth = life_millis / 10;
    let shift = tenth * 2 * i64::from(random) / i64::from(u32::MAX) - tenth;
    let at = not_before.millis() + life_millis / 2 + shift;
    UnixTime::from_millis(at)
}
