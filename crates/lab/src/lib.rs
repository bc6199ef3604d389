//! Everything that needs more than one real part: interop, attacks, faults, and the shared test vectors.
//! The tests are under `tests/it`.
