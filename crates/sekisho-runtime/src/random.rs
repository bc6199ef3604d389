use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use sekisho_types::UnixTime;

/// Random bytes from the operating system. Without them nothing secure can go on, so failing ends the process.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    if SystemRandom::new().fill(&mut out).is_err() {
        tracing::error!("the operating system gives no randomness; stopping");
        std::process::abort();
    }
    out
}

/// A 128-bit identifier that sorts by time: 48 bits of Unix milliseconds, 80 random bits.
pub fn time_ordered_id(at: UnixTime) -> [u8; 16] {
    let mut id = random_bytes::<16>();
    let milliseconds = at.millis().to_be_bytes();
    id.iter_mut().zip(milliseconds.iter().skip(2)).for_each(|(to, from)| *to = *from);
    id
}

/// `bytes` random bytes as hexadecimal digits; at most 32 bytes.
pub fn random_hex(bytes: usize) -> String {
    random_bytes::<32>().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

pub fn random_u32() -> u32 {
    u32::from_ne_bytes(random_bytes())
}
