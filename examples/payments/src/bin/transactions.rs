//! Answers `GET /v1/balance` and `POST /v1/transactions` to every caller that its sidecar admits, and names the caller
//! that the sidecar names.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

fn main() -> std::io::Result<()> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:9000".to_owned());
    if let Some(path) = address.strip_prefix("unix:") {
        // A socket of an earlier run has no owner.
        let _stale = std::fs::remove_file(path);
        for stream in UnixListener::bind(path)?.incoming().flatten() {
            std::thread::spawn(move || stream.try_clone().map(|copy| serve(copy, stream)));
        }
    } else {
        for stream in TcpListener::bind(&address)?.incoming().flatten() {
            std::thread::spawn(move || stream.try_clone().map(|copy| serve(copy, stream)));
        }
    }
    Ok(())
}

fn serve(reader: impl Read, mut writer: impl Write) {
    let mut reader = BufReader::new(reader);
    while let Ok(Some(head)) = payments::read_head(&mut reader) {
        if head.header("transfer-encoding").is_some() {
            // Its body would be read as the next request.
            let refused = "HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _gone = writer.write_all(refused.as_bytes());
            return;
        }
        let length = head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = (&mut reader).take(length);
        let read = std::io::copy(&mut body, &mut std::io::sink());
        let caller = head.header("x-sekisho-peer-id").unwrap_or("nobody");
        let (status, answer) = match head.first.split(' ').take(2).collect::<Vec<_>>().as_slice() {
            ["GET", "/v1/balance"] => ("200 OK", format!("{{\"balance\":1200,\"caller\":\"{caller}\"}}")),
            ["POST", "/v1/transactions"] => ("201 Created", format!("{{\"created\":true,\"caller\":\"{caller}\"}}")),
            _ => ("404 Not Found", "{}".to_owned()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        if read.is_err() || writer.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}
