use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Fabric, Inflow, Machine, PeerCredentials, TcpListener, TcpStream, UnixListener, UnixStream};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// Runs `work` on a machine with a clock of its own.
fn simulated<F: Future<Output = ()>>(work: impl FnOnce(Fabric, Arc<Machine>) -> F) {
    let fabric = Fabric::new(3);
    let machine = Machine::new(3, HERE, &fabric);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    machine.enter(|| {
        runtime.block_on(async {
            machine.begin(Duration::ZERO);
            work(fabric, machine.clone()).await;
        });
        machine.stop();
        drop(runtime);
    });
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::new(HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(std::slice::from_ref(&address)), listener.accept());
    let (accepted, from) = accepted.unwrap();
    let dialled = dialled.unwrap();
    assert_eq!((dialled.local_addr().unwrap(), dialled.peer_addr().unwrap()), (from, address));
    (dialled, accepted)
}

#[test]
fn bytes_arrive_later_in_order_and_end() {
    simulated(|fabric, machine| async move {
        fabric.set_delay(Duration::from_millis(10), Duration::from_millis(1));
        let (mut a, mut b) = connected().await;
        let began = machine.elapsed();
        for part in [&b"one "[..], b"two ", b"three"] {
            a.write_all(part).await.unwrap();
        }
        a.shutdown().await.unwrap();
        let mut read = String::new();
        b.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "one two three");
        assert!(machine.elapsed() - began >= Duration::from_millis(10));
        // More than a pipe holds passes while it is read.
        let sent = vec![7; 600_000];
        let (written, read) = tokio::join!(
            async {
                b.write_all(&sent).await.unwrap();
                drop(b);
            },
            async {
                let mut read = vec![];
                a.read_to_end(&mut read).await.map(|_| read)
            }
        );
        let ((), read) = (written, read.unwrap());
        assert_eq!(read.len(), 600_000);
    });
}

#[test]
fn a_partition_delays_and_a_cut_resets() {
    simulated(|fabric, machine| async move {
        let (mut a, mut b) = connected().await;
        fabric.part(HERE, HERE);
        a.write_all(b"x").await.unwrap();
        let mut byte = [0];
        let waits = tokio::time::timeout(Duration::from_secs(60), b.read_exact(&mut byte)).await;
        assert!(waits.is_err());
        let before = machine.elapsed();
        fabric.join(HERE, HERE);
        b.read_exact(&mut byte).await.unwrap();
        assert!(machine.elapsed() - before < Duration::from_millis(200));
        fabric.cut(HERE, HERE);
        assert_eq!(b.read(&mut byte).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(a.write(b"x").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(&[SocketAddr::new(HERE, 9)]).await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_unix_socket_names_the_process_that_dialled() {
    simulated(|_, _| async move {
        let path = Path::new("/run/agent.sock");
        let listener = UnixListener::bind(path).unwrap();
        assert!(UnixListener::bind(path).is_err(), "it is served");
        let peer = PeerCredentials { pid: 7, uid: 1000, gid: 1000 };
        let mut dialled = UnixStream::connect_as(path, peer).unwrap();
        let mut accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.kernel().err().unwrap(), Some(peer));
        dialled.write_all(b"hello").await.unwrap();
        drop(dialled);
        let mut read = String::new();
        accepted.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "hello");
        drop(listener);
        assert!(UnixStream::connect_as(path, peer).is_err());
        assert!(UnixListener::bind(path).is_ok(), "its place is free again");
    });
}

async fn passes(inflow: &Inflow) -> bool {
    tokio::time::timeout(Duration::from_secs(60), inflow.next(std::future::ready(()))).await.is_ok()
}

#[test]
fn streams_are_held_up_and_released() {
    simulated(|_, machine| async move {
        let first = Inflow::open();
        assert!(passes(&first).await);
        machine.hold_up_streams(false);
        let second = Inflow::open();
        assert!(!passes(&first).await && passes(&second).await);
        machine.hold_up_streams(true);
        assert!(!passes(&second).await && !passes(&Inflow::open()).await);
        machine.release_streams();
        assert!(passes(&first).await);
    });
}
