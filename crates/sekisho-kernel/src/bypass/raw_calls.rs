//! System calls that an attacker makes and no safe wrapper offers.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

fn checked(answer: isize) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

#[expect(unsafe_code, reason = "setsockopt(2) of options that rustix does not know")]
pub(super) fn set_option(socket: impl AsFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = length(value)?;
    // SAFETY: the value is as long as is stated.
    let answer = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, value.as_ptr().cast(), length) };
    checked(answer as isize)
}

/// To an address of any form, also one that no type allows.
#[expect(unsafe_code, reason = "sendto(2) with an address of any form")]
pub(super) fn send_to(socket: impl AsFd, data: &[u8], flags: i32, address: &[u8]) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), length(address)?);
    // SAFETY: data and address are as long as is stated.
    checked(unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), flags, address.as_ptr().cast(), length) })
}

#[expect(unsafe_code, reason = "bind(2) with an address that rustix does not know")]
pub(super) fn bind(socket: impl AsFd, address: &[u8]) -> io::Result<()> {
    let (fd, length) = (socket.as_fd().as_raw_fd(), length(address)?);
    // SAFETY: the address is as long as is stated.
    checked(unsafe { libc::bind(fd, address.as_ptr().cast(), length) } as isize)
}

/// Requests whose argument is a structure that the kernel only reads.
#[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper")]
pub(super) fn configure(socket: impl AsFd, request: u64, argument: &mut [u8; 40]) -> io::Result<()> {
    // SAFETY: the two requests that are used here (below) read at most 40 bytes.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), request, argument.as_mut_ptr()) };
    checked(answer as isize)
}

/// Sets flags of an interface, and adds an address of IPv6.
pub(super) const SET_FLAGS: u64 = libc::SIOCSIFFLAGS;
pub(super) const ADD_ADDRESS: u64 = libc::SIOCSIFADDR;

/// Gives this thread a network namespace of its own.
#[expect(unsafe_code, reason = "unshare(2) is unsafe for flags that are not used here")]
pub(super) fn new_network() -> io::Result<()> {
    // SAFETY: a namespace of networks concerns descriptors and memory of no other thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
