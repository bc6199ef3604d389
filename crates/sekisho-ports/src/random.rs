use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::Machine;

/// Random bytes from the operating system, or from a simulated machine's seed. Without them nothing secure can go on,
/// so failing ends the process.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    if let Some(machine) = Machine::current() {
        machine.fill(&mut out);
    } else if SystemRandom::new().fill(&mut out).is_err() {
        tracing::error!("the operating system gives no randomness; stopping");
        std::process::abort();
    }
    out
}
