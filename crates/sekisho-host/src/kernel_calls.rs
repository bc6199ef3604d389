//! Three questions to the kernel that neither rustix nor libc wraps safely. None passes a pointer but to a buffer of
//! its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `linux/kcmp.h`
const KCMP_FILE: libc::c_int = 0;
const KCMP_FILES: libc::c_int = 2;

/// `PIDFD_GET_INFO` (Linux 6.13): `_IOWR(0xFF, 11, struct pidfd_info)`, with the first version of that struct.
const PIDFD_GET_INFO: libc::Ioctl = (3 << 30 | (INFO_WORDS * 4) << 16 | 0xFF << 8 | 11) as libc::Ioctl;
const INFO_WORDS: usize = 16;
/// Where the users stand in it, in words: real, effective, saved, of the file system. Their groups are between them.
const INFO_USERS: [usize; 4] = [7, 9, 11, 13];

/// Whether two threads share one table of descriptors (kcmp(2)).
#[expect(unsafe_code, reason = "kcmp(2) has no safe wrapper in libc, rustix or nix")]
pub(crate) fn share_descriptors(one: i32, other: i32) -> io::Result<bool> {
    // SAFETY: for KCMP_FILES the call takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    if order < 0 { Err(io::Error::last_os_error()) } else { Ok(order == 0) }
}

/// Whether two descriptors, each of a thread and by its number there, are of one open file. A socket has one open file
/// as long as it lives (kcmp(2)).
#[expect(unsafe_code, reason = "kcmp(2) has no safe wrapper in libc, rustix or nix")]
pub(crate) fn is_same_file(one: (i32, i32), other: (i32, i32)) -> io::Result<bool> {
    let (first, second) = (libc::c_ulong::from(one.1.cast_unsigned()), libc::c_ulong::from(other.1.cast_unsigned()));
    // SAFETY: for KCMP_FILE the call takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one.0, other.0, KCMP_FILE, first, second) };
    if order < 0 { Err(io::Error::last_os_error()) } else { Ok(order == 0) }
}

/// All users of the process behind a pidfd. It costs a fifth of reading its status, and an older kernel does not know
/// it.
#[expect(unsafe_code, reason = "ioctl(PIDFD_GET_INFO) has no safe wrapper in libc, rustix or nix")]
pub(crate) fn users_behind(pidfd: impl AsFd) -> io::Result<[u32; 4]> {
    // The first word asks for nothing but what is always there.
    let mut info = [0u32; INFO_WORDS];
    // SAFETY: the request names the size of `info`, which outlives the call.
    let done = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, std::ptr::from_mut(&mut info)) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(INFO_USERS.map(|at| info.get(at).copied().unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_status_name_the_same_users() {
        let own = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        match users_behind(&pidfd) {
            Ok(users) => assert_eq!(users.to_vec(), crate::proc_text::all_users(&status)),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOTTY), "an older kernel"),
        }
    }
}
