//! What a sidecar carries over a rotation.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::sidecar_attacks::Counter;
use crate::world::eventually;

#[test]
fn a_tunnel_between_sidecars_goes_on_over_rotations_as_both_ends_prove_the_same_ids() {
    let counter = Counter::open_with("tcp", &["--x509-ttl-seconds", "20"]);
    let mut tunnel = counter.dial();
    let (began, mut buffer) = (Instant::now(), [0u8; 4096]);
    while began.elapsed() < Duration::from_secs(45) {
        tunnel.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n").unwrap();
        let read = tunnel.read(&mut buffer).unwrap();
        assert!(read > 0, "the tunnel was closed after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    // Without an identity there is nothing to prove.
    counter.world.text(&["entry", "delete", &counter.till_entry]);
    eventually("the tunnel closes", || {
        let asked = tunnel.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n");
        (asked.is_err() || tunnel.read(&mut buffer).is_ok_and(|read| read == 0)).then_some(())
    });
}
