//! A residual with its unknowns filled in decides as the modules do.

#[cfg(test)]
mod residuals;

use residuals::{Seen, compare};

#[test]
fn residuals_decide_as_their_modules_do() {
    let mut seen = Seen::default();
    for seed in 0..6_200 {
        compare(seed, &mut seen);
    }
    assert!(seen.decisions >= 20_000, "{seen:?}");
    assert!(seen.refused < 5_000, "{seen:?}");
    let each = [seen.certain, seen.supported, seen.errors, seen.holds];
    assert!(each.iter().all(|count| *count > 20), "{seen:?}");
}
