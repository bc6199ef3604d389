//! What sidecars carry over a rotation.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::faults::Shim;
use crate::sidecar_attacks::Counter;
use crate::world::eventually;

#[test]
fn a_tunnel_between_sidecars_survives_rotations() {
    let shim = Shim::new();
    let counter = Counter::open_with("tcp", &["--x509-ttl", "40s"], &shim.environment());
    let (mut tunnel, mut buffer) = (counter.dial(), [0u8; 4096]);
    // Beyond the life of the SVIDs that it began with.
    for run_on in [21, 42, 63] {
        shim.renews(&counter.world, run_on, &[&counter.till_entry, &counter.ledger_entry]);
        for _ in 0..20 {
            tunnel.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n").unwrap();
            let read = tunnel.read(&mut buffer).unwrap();
            assert!(read > 0, "the tunnel was closed within {run_on} s");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // Without an identity there is nothing to prove.
    counter.world.text(&["entry", "delete", &counter.till_entry]);
    eventually("the tunnel closes", || {
        let asked = tunnel.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n");
        (asked.is_err() || tunnel.read(&mut buffer).is_ok_and(|read| read == 0)).then_some(())
    });
}

#[test]
fn a_bundle_rotation_under_load_fails_no_request() {
    let shim = Shim::new();
    let options = ["--ca-ttl", "60s", "--x509-ttl", "20s"];
    let counter = Counter::open_with("http1", &options, &shim.environment());
    let mut asked = 0;
    // Four times as fast as it is: the next authority is made at thirty seconds and signs from forty on.
    for second in 1..=54 {
        shim.run_on(second, second);
        counter.world.wakes();
        let end = Instant::now() + Duration::from_millis(250);
        while Instant::now() < end {
            let answer = counter.get("/v1/balance", "");
            assert!(answer.contains(" 200 "), "request {asked}, {second} s: {answer}");
            asked += 1;
        }
    }
    let signers = |entry: &str| {
        let leaves = counter.world.leaves("issuance").into_iter().filter(|leaf| leaf["entry"] == entry);
        leaves.filter_map(|leaf| leaf["authority"].as_str().map(str::to_owned)).collect::<BTreeSet<_>>().len()
    };
    let signers = [&counter.till_entry, &counter.ledger_entry].map(|entry| signers(entry));
    assert!(signers.iter().all(|count| *count >= 2), "both ends have SVIDs of the next authority: {signers:?}");
    assert!(asked > 200, "{asked}");
}
