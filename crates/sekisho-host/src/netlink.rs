//! Questions to the kernel's socket tables (sock_diag(7)). One question names one socket, so that its cost does not
//! grow with what others have open.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with};

/// `linux/sock_diag.h`
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `linux/netlink.h`
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
/// The table changed while it was read, so the answer may miss a socket.
const NLM_F_DUMP_INTR: u16 = 0x10;
const HEADER: usize = 16;
const SEQUENCE: u32 = 1;

/// What one question may bring, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Which sockets a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketQuery {
    /// The one that the request names; no answer if there is no such socket.
    One,
    /// All that the request's filter lets through.
    All,
}

/// Address families whose sockets this kernel lists, a bit each.
static LISTED: AtomicU64 = AtomicU64::new(0);

/// Sends `request` (an `inet_diag_req_v2`, a `unix_diag_req`) and returns the payload of each answer. The question is
/// asked in this thread's own network namespace.
pub(crate) fn sock_diag(request: &[u8], ask: SocketQuery) -> io::Result<Vec<Vec<u8>>> {
    let answers = exchange(request, ask)?;
    // A kernel without a table of this family answers as one in whose table the socket is not.
    if answers.is_empty() && ask == SocketQuery::One {
        check_listed(request)?;
    }
    Ok(answers)
}

/// An error if the kernel has no table of this family's sockets.
fn check_listed(request: &[u8]) -> io::Result<()> {
    let family = request.first().map_or(0, |family| 1u64 << (family % 64));
    if LISTED.load(Ordering::Relaxed) & family != 0 {
        return Ok(());
    }
    // All sockets in none of the states: nothing, from a kernel that has the table.
    let none = [request.get(..4).unwrap_or_default(), &[0; 4], request.get(8..).unwrap_or_default()].concat();
    exchange(&none, SocketQuery::All)?;
    LISTED.fetch_or(family, Ordering::Relaxed);
    Ok(())
}

/// What to do about a kernel that does not list the sockets of this family.
fn unlisted(request: &[u8]) -> io::Error {
    let is_unix = request.first().is_some_and(|family| u16::from(*family) == AddressFamily::UNIX.as_raw());
    let (sockets, module, option) =
        if is_unix { ("Unix", "unix_diag", "UNIX_DIAG") } else { ("TCP", "tcp_diag", "INET_DIAG") };
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "this kernel does not list {sockets} sockets: module `{module}` is missing; `modprobe {module}` loads it, \
             and a kernel without it needs CONFIG_{option}"
        ),
    )
}

fn exchange(request: &[u8], ask: SocketQuery) -> io::Result<Vec<Vec<u8>>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    sendto(&socket, &message(request, ask), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let (mut answers, mut taken) = (Vec::new(), 0);
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let (length, whole, from) = match recvfrom(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((length, whole, from)) => (length, whole, from),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        taken += whole;
        if whole > buffer.len() || taken > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too long"));
        }
        // Only the kernel's own answer counts.
        if from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_none_or(|from| from.pid() != 0) {
            continue;
        }
        match read(buffer.get(..length).unwrap_or_default(), &mut answers)? {
            Progress::Absent if ask == SocketQuery::All => return Err(unlisted(request)),
            Progress::Done | Progress::Absent => return Ok(answers),
            Progress::More if ask == SocketQuery::One && !answers.is_empty() => return Ok(answers),
            Progress::More => {}
        }
    }
}

fn message(request: &[u8], ask: SocketQuery) -> Vec<u8> {
    let flags = NLM_F_REQUEST | if ask == SocketQuery::All { NLM_F_DUMP } else { 0 };
    let length = u32::try_from(HEADER + request.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER + request.len());
    out.extend(length.to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(SEQUENCE.to_ne_bytes());
    // The kernel writes the sender's own number.
    out.extend(0u32.to_ne_bytes());
    out.extend_from_slice(request);
    out
}

enum Progress {
    More,
    Done,
    /// There is no socket with these ends, or another one than the one with this cookie, or no table.
    Absent,
}

/// Reads the messages of one datagram (`struct nlmsghdr`, each aligned to four bytes).
fn read(mut datagram: &[u8], answers: &mut Vec<Vec<u8>>) -> io::Result<Progress> {
    while datagram.len() >= HEADER {
        let length = number(datagram, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let (Some(kind), Some(flags), Some(payload)) =
            (short(datagram, 4), short(datagram, 6), datagram.get(HEADER..length))
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut off"));
        };
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            // The end of a list has the error that stopped it, if one did.
            NLMSG_DONE | NLMSG_ERROR => return end(payload),
            SOCK_DIAG_BY_FAMILY if number(datagram, 8) == Some(SEQUENCE) => answers.push(payload.to_vec()),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// `struct nlmsgerr`, or the number that ends a list: a negative errno, or zero. A list's end counts answers in the
/// positive.
fn end(payload: &[u8]) -> io::Result<Progress> {
    let code = number(payload, 0).map_or(0, |code| code.cast_signed().min(0).saturating_neg());
    let absent = [Errno::NOENT, Errno::STALE].map(Errno::raw_os_error);
    match code {
        0 => Ok(Progress::Done),
        code if absent.contains(&code) => Ok(Progress::Absent),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The number in four bytes of host order at `at`.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_a_damaged_netlink_answer_is_an_error() {
        let whole = message(b"12345678", SocketQuery::One);
        let mut answers = vec![];
        assert!(matches!(read(&whole, &mut answers), Ok(Progress::More)));
        assert_eq!(answers, [b"12345678"]);
        for cut in HEADER..whole.len() {
            assert!(read(&whole[..cut], &mut answers).is_err(), "{cut}");
        }
        for length in [0u32, 4, 15, u32::MAX] {
            let mut wrong = whole.clone();
            wrong[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(read(&wrong, &mut answers).is_err(), "{length}");
        }
        assert!(matches!(end(&(-2i32).to_ne_bytes()), Ok(Progress::Absent)));
        assert!(matches!(end(&[0; 4]), Ok(Progress::Done)));
        assert!(matches!(end(&20i32.to_ne_bytes()), Ok(Progress::Done)));
        assert!(end(&(-13i32).to_ne_bytes()).is_err());
        assert!(end(&i32::MIN.to_ne_bytes()).is_err());
    }

    /// The kernel has no table for sockets of this family (AF_ALG), as without `unix_diag` for Unix sockets.
    #[test]
    fn a_missing_table_is_not_a_missing_socket() {
        const OTHER: u8 = 38;
        let request = [OTHER; 1].into_iter().chain([0; 23]).collect::<Vec<u8>>();
        for ask in [SocketQuery::One, SocketQuery::All] {
            let error = sock_diag(&request, ask).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("modprobe"), "{error}");
        }
        let unix = unlisted(&[1]).to_string();
        assert!(unix.contains("`unix_diag` is missing") && unix.contains("CONFIG_UNIX_DIAG"), "{unix}");
    }
}
