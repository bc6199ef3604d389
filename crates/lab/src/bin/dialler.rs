//! A workload for tests: it dials `TO` from the local port that each line on its Unix socket `CONTROL` names, asks there for
//! its balance, and holds the connection until the next line.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = UnixListener::bind(std::env::var("CONTROL")?)?;
    let to: SocketAddr = std::env::var("TO")?.parse()?;
    let (stream, _) = control.accept()?;
    let (mut answers, mut held) = (stream.try_clone()?, None);
    for line in BufReader::new(stream).lines() {
        held = lab::dial_from(SocketAddr::from(([127, 0, 0, 1], line?.parse()?)), to).ok();
        let asked =
            held.as_mut().map(|held: &mut TcpStream| held.write_all(b"GET /v1/balance HTTP/1.1\r\nhost: l\r\n\r\n"));
        writeln!(answers, "{}", asked.map_or("failed", |_sent| "connected"))?;
    }
    drop(held);
    Ok(())
}
