//! The process inside the cgroup: it waits at its standard input, a Unix socket, for what to try, and answers there.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::attempt::{Attempt, Held};
use super::techniques;

/// The longest message between the two.
const LONGEST: usize = 512;

/// Obeys until the other side closes the connection. `held` is what one step leaves to the next.
pub fn inside() -> io::Result<()> {
    let parent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut held = Held::default();
    loop {
        let (order, passed) = receive(&parent)?;
        if order.is_empty() {
            return Ok(());
        }
        held.passed = passed.or(held.passed.take());
        let mut words = order.split(' ');
        let step = words.next().unwrap_or_default();
        let technique = words.next().and_then(techniques::named);
        let token = words.next().unwrap_or_default();
        let answer = match technique {
            None => Err(io::Error::other("no such technique")),
            Some(technique) if step == "prepare" => {
                technique.prepare.map_or(Ok(()), |(_, prepare)| prepare(&mut held)).map(|()| Attempt::Arrives)
            }
            Some(technique) => (technique.attempt)(&mut held, token.as_bytes()),
        };
        let answer = match answer {
            Ok(Attempt::Arrives) => "arrives".to_owned(),
            Ok(Attempt::Succeeded) => "succeeded".to_owned(),
            Err(error) => format!("failed {error}"),
        };
        (&parent).write_all(answer.as_bytes())?;
    }
}

fn receive(parent: &UnixStream) -> io::Result<(String, Option<OwnedFd>)> {
    let mut bytes = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(parent, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let order = String::from_utf8_lossy(bytes.get(..received.bytes).unwrap_or_default()).into_owned();
    Ok((order, passed))
}

/// The same process, as its parent sees it.
#[derive(Debug)]
pub(super) struct Inside {
    process: Child,
    orders: UnixStream,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Done(Attempt),
    Failed(String),
}

impl Inside {
    /// `program` calls `inside`.
    pub(super) fn start(program: &mut Command) -> io::Result<Self> {
        let (orders, stdin) = UnixStream::pair()?;
        orders.set_read_timeout(Some(Duration::from_secs(5)))?;
        let process = program.stdin(OwnedFd::from(stdin)).stdout(Stdio::null()).spawn()?;
        Ok(Self { process, orders })
    }

    pub(super) fn number(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn order(&mut self, order: &str, pass: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = pass.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no space for a descriptor"));
        }
        let data = [IoSlice::new(order.as_bytes())];
        sendmsg(self.orders.as_fd(), &data, &mut control, SendFlags::NOSIGNAL)?;
        let mut answer = [0; LONGEST];
        let length = self.orders.read(&mut answer)?;
        let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
        Ok(match answer.split_once(' ') {
            _ if answer == "arrives" => Answer::Done(Attempt::Arrives),
            _ if answer == "succeeded" => Answer::Done(Attempt::Succeeded),
            Some(("failed", why)) => Answer::Failed(why.to_owned()),
            _ => Answer::Failed("the process that tried it stopped".to_owned()),
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}
