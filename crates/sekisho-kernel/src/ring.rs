//! The ring buffer in which programs report, as this side reads it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Both mappings of a ring: our position, which we write, and the kernel's position and the records, which we read.
#[derive(Debug)]
pub(crate) struct Ring {
    ours: NonNull<u8>,
    theirs: NonNull<u8>,
    page: usize,
    size: usize,
}

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;

// The mappings belong to this value, and `read` takes it exclusively.
#[expect(unsafe_code, reason = "raw pointers to mappings that this value owns")]
// SAFETY: nothing else holds the pointers, and they are valid in every thread.
unsafe impl Send for Ring {}

#[expect(unsafe_code, reason = "mmap(2) of a ring buffer has no safe wrapper")]
fn map(fd: BorrowedFd<'_>, length: usize, offset: usize, protection: i32) -> io::Result<NonNull<u8>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
    if at == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        NonNull::new(at.cast()).ok_or_else(|| io::Error::other("no mapping"))
    }
}

#[expect(unsafe_code, reason = "see `map`")]
fn unmap(at: NonNull<u8>, length: usize) {
    // SAFETY: the mapping was made with this length and is used by nothing after its owner.
    let _always_succeeds = unsafe { libc::munmap(at.as_ptr().cast(), length) };
}

fn page_size() -> io::Result<usize> {
    #[expect(unsafe_code, reason = "sysconf(3) has no safe wrapper in libc")]
    // SAFETY: it takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_err(io::Error::other)
}

impl Ring {
    /// `size` is the number of bytes that the map was made with.
    pub(crate) fn open(fd: BorrowedFd<'_>, size: u32) -> io::Result<Self> {
        let (page, size) = (page_size()?, size as usize);
        let ours = map(fd, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        // The kernel maps the records twice in a row, so that none is cut.
        match map(fd, page + 2 * size, page, libc::PROT_READ) {
            Ok(theirs) => Ok(Self { ours, theirs, page, size }),
            Err(error) => {
                unmap(ours, page);
                Err(error)
            }
        }
    }

    /// Gives every record that is complete to `each`, in the order of the kernel.
    #[expect(unsafe_code, reason = "the positions and records lie in mappings")]
    #[expect(clippy::cast_ptr_alignment, reason = "positions begin pages; the kernel aligns records to 8 bytes")]
    pub(crate) fn read(&mut self, mut each: impl FnMut(&[u8])) {
        // SAFETY: each mapping begins with a position of 8 bytes, aligned to a page, that both sides access atomically.
        let (ours, theirs) =
            unsafe { (&*self.ours.as_ptr().cast::<AtomicU64>(), &*self.theirs.as_ptr().cast::<AtomicU64>()) };
        let mut at = ours.load(Ordering::Acquire);
        let end = theirs.load(Ordering::Acquire);
        while at < end {
            let place = self.page + usize::try_from(at & (self.size as u64 - 1)).unwrap_or(0);
            // SAFETY: `place` is within the first copy of the records and aligned to 8, as lengths are rounded up
            // below.
            let header = unsafe { &*self.theirs.as_ptr().add(place).cast::<AtomicU32>() }.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let length = ((header & !DISCARDED) as usize).min(self.size - HEADER);
            if header & DISCARDED == 0 {
                // SAFETY: the kernel finished this record, and does not write it again before our position passes it;
                // it may reach into the second copy, which is mapped as well.
                each(unsafe { std::slice::from_raw_parts(self.theirs.as_ptr().add(place + HEADER), length) });
            }
            at += (length + HEADER).next_multiple_of(8) as u64;
            ours.store(at, Ordering::Release);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        unmap(self.ours, self.page);
        unmap(self.theirs, self.page + 2 * self.size);
    }
}
