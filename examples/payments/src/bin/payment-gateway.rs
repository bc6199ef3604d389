//! Asks for the balance, which policy allows, and posts a transaction, which it denies until the node's hardware is
//! attested. Prints one line of JSON for each answer.

use std::io::Write;
use std::time::Duration;

fn main() {
    let address = std::env::var("TRANSACTIONS_ADDRESS").unwrap_or_else(|_| "127.0.0.1:9001".to_owned());
    let seconds = std::env::var("INTERVAL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    say(&format!("{{\"pid\":{}}}", std::process::id()));
    loop {
        for (method, path) in [("GET", "/v1/balance"), ("POST", "/v1/transactions")] {
            match payments::call(&address, method, path) {
                Ok((status, decision)) => say(&format!(
                    "{{\"method\":\"{method}\",\"path\":\"{path}\",\"status\":{status},\"decision\":\"{decision}\"}}"
                )),
                Err(error) => say(&format!("{{\"method\":\"{method}\",\"path\":\"{path}\",\"error\":\"{error}\"}}")),
            }
        }
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
