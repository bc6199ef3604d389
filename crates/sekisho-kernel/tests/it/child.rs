//! The process inside a cgroup is this test program again, which then runs only one test. A socket belongs to the
//! cgroup in which it was made, so that process makes sockets and passes them to the tests.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, recvmsg, sendmsg, socket,
};
use sekisho_kernel::Cgroup;
use sekisho_kernel::bypass::inside;

const INSIDE: &str = "SEKISHO_KERNEL_TEST_INSIDE";

pub(crate) fn program() -> Command {
    as_child("attempts")
}

fn as_child(what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::inside_a_cgroup", "--nocapture"]).env(INSIDE, what);
    command
}

/// Alone it does nothing; other tests start it in a process of its own.
#[test]
fn inside_a_cgroup() {
    match std::env::var(INSIDE).as_deref() {
        Ok("attempts") => inside().unwrap(),
        Ok("sockets") => make_sockets(),
        _ => {}
    }
}

fn make_sockets() {
    let mut parent = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut kind = [0];
    while parent.read_exact(&mut kind).is_ok() {
        let (family, kind) = match &kind {
            b"t" => (AddressFamily::INET, SocketType::STREAM),
            b"T" => (AddressFamily::INET6, SocketType::STREAM),
            b"u" => (AddressFamily::INET, SocketType::DGRAM),
            _ => (AddressFamily::INET6, SocketType::DGRAM),
        };
        let made = socket(family, kind, None).unwrap();
        let descriptors = [made.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&parent, &[IoSlice::new(b".")], &mut control, SendFlags::empty()).unwrap();
    }
}

/// A cgroup, and a process in it that makes sockets.
pub(crate) struct Workload {
    process: Child,
    orders: UnixStream,
    pub(crate) cgroup: Cgroup,
}

impl Workload {
    pub(crate) fn start() -> Self {
        let cgroup = Cgroup::scratch().unwrap();
        let (orders, stdin) = UnixStream::pair().unwrap();
        let process = as_child("sockets").stdin(OwnedFd::from(stdin)).stdout(Stdio::null()).spawn().unwrap();
        cgroup.admit(process.id()).unwrap();
        Self { process, orders, cgroup }
    }

    fn make(&self, kind: u8) -> OwnedFd {
        (&self.orders).write_all(&[kind]).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.orders, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let made = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        made.expect("the process inside refuses")
    }

    pub(crate) fn tcp4(&self) -> OwnedFd {
        self.make(b't')
    }

    pub(crate) fn tcp6(&self) -> OwnedFd {
        self.make(b'T')
    }

    pub(crate) fn udp4(&self) -> UdpSocket {
        self.make(b'u').into()
    }

    pub(crate) fn udp6(&self) -> UdpSocket {
        self.make(b'U').into()
    }

    pub(crate) fn listener(&self, port: u16) -> TcpListener {
        let socket = self.tcp4();
        rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        rustix::net::listen(&socket, 16).unwrap();
        socket.into()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
