//! A workload for tests: it dials `TO` from the local port that each line on its Unix socket `CONTROL` names, asks
//! there for its balance, says after how many milliseconds an answer came, and holds the connection until the next
//! line.

#![expect(clippy::disallowed_methods, reason = "it waits in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = UnixListener::bind(std::env::var("CONTROL")?)?;
    let to: SocketAddr = std::env::var("TO")?.parse()?;
    let (stream, _) = control.accept()?;
    let (mut says, mut held) = (stream.try_clone()?, None);
    for line in BufReader::new(stream).lines() {
        let began = Instant::now();
        held = lab::dial_from(SocketAddr::from(([127, 0, 0, 1], line?.parse()?)), to).ok();
        match held.as_mut().map(ask) {
            Some(Ok(true)) => writeln!(says, "answered {}", began.elapsed().as_millis())?,
            Some(_) => writeln!(says, "connected")?,
            None => writeln!(says, "failed")?,
        }
    }
    drop(held);
    Ok(())
}

fn ask(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: ledger\r\n\r\n")?;
    Ok(stream.read(&mut [0; 4096])? > 0)
}
