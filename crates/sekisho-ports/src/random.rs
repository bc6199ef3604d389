use std::cell::RefCell;

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

/// Random bytes for identifiers, which are not secret. They are drawn from [`random_bytes`] for many at once, since a
/// draw costs as much as the encryption of a short message. None is given twice.
pub fn random_id<const N: usize>() -> [u8; N] {
    const DRAWN: usize = 1024;
    thread_local! {
        static UNUSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if N > DRAWN || Machine::current().is_some() {
        return random_bytes();
    }
    UNUSED.with_borrow_mut(|unused| {
        if unused.len() < N {
            *unused = random_bytes::<DRAWN>().to_vec();
        }
        let rest = unused.len() - N;
        let mut id = [0u8; N];
        id.iter_mut().zip(unused.iter().skip(rest)).for_each(|(to, from)| *to = *from);
        unused.truncate(rest);
        id
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_identifier_is_given_twice() {
        let ids: BTreeSet<_> = (0..1000).map(|_| random_id::<24>()).collect();
        assert_eq!(ids.len(), 1000);
        assert_ne!(random_id::<2000>(), random_id::<2000>());
    }
}
