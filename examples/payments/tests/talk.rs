//! The two services without any sidecar. Having an integration test also makes `cargo test` build their binaries.

use std::process::{Command, Stdio};

#[test]
fn the_gateway_reaches_transactions_without_an_identity() {
    let folder = std::env::temp_dir().join(format!("payments-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let address = format!("unix:{}/s", folder.display());
    let mut service =
        Command::new(env!("CARGO_BIN_EXE_transactions")).env("LISTEN", &address).stdin(Stdio::null()).spawn().unwrap();
    let answer = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        payments::call(&address, "GET", "/v1/balance").ok()
    });
    assert_eq!(answer, Some((200, String::new())));
    assert_eq!(payments::call(&address, "POST", "/v1/transactions").unwrap().0, 201);
    assert_eq!(payments::call(&address, "GET", "/elsewhere").unwrap().0, 404);
    service.kill().unwrap();
    service.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(env!("CARGO_BIN_EXE_payment-gateway").ends_with("payment-gateway"));
}
