//! `bpf(2)`, as much of it as this crate needs, with owned descriptors and checked lengths. The layouts of its argument
//! are those of `union bpf_attr` in include/uapi/linux/bpf.h, which never change.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands, by their numbers.
mod command {
    pub(super) const MAP_CREATE: i64 = 0;
    pub(super) const MAP_LOOKUP: i64 = 1;
    pub(super) const MAP_UPDATE: i64 = 2;
    pub(super) const MAP_DELETE: i64 = 3;
    pub(super) const PROG_LOAD: i64 = 5;
    pub(super) const PROG_BY_NUMBER: i64 = 13;
    pub(super) const OBJECT_INFO: i64 = 15;
    pub(super) const BTF_LOAD: i64 = 18;
    pub(super) const MAP_FREEZE: i64 = 22;
    pub(super) const MAP_UPDATE_BATCH: i64 = 26;
    pub(super) const LINK_CREATE: i64 = 28;
    pub(super) const LINK_BY_NUMBER: i64 = 30;
}

/// The argument of a call: zeros, and what is set in it.
struct Argument([u8; 128]);

impl Argument {
    const fn new() -> Self {
        Self([0; 128])
    }

    fn bytes(mut self, at: usize, value: &[u8]) -> Self {
        if let Some(place) = self.0.get_mut(at..at.saturating_add(value.len())) {
            place.copy_from_slice(value);
        }
        self
    }

    fn u32(self, at: usize, value: u32) -> Self {
        self.bytes(at, &value.to_ne_bytes())
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.bytes(at, &fd.as_raw_fd().to_ne_bytes())
    }

    /// The address of memory that the kernel reads, which the caller keeps until the call returns.
    fn read(self, at: usize, memory: &[u8]) -> Self {
        self.bytes(at, &(memory.as_ptr() as u64).to_ne_bytes())
    }

    /// The address of memory that the kernel writes.
    fn write(self, at: usize, memory: &mut [u8]) -> Self {
        self.bytes(at, &(memory.as_mut_ptr() as u64).to_ne_bytes())
    }

    /// A name as the kernel accepts it: 15 characters.
    fn name(self, at: usize, name: &str) -> Self {
        let name: Vec<u8> = name.bytes().take(15).collect();
        self.bytes(at, &name)
    }

    fn call(mut self, command: i64) -> io::Result<i64> {
        call(command, &mut self.0)
    }
}

#[expect(unsafe_code, reason = "bpf(2) has no safe wrapper in libc or rustix")]
fn call(command: i64, argument: &mut [u8; 128]) -> io::Result<i64> {
    // SAFETY: the argument is 128 bytes, which is what is stated; addresses in it come from slices of the callers
    // below, with lengths that the kernel is given or knows from the map.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, argument.as_mut_ptr(), argument.len()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[expect(unsafe_code, reason = "a descriptor that a system call made has no owner yet")]
fn owned(answer: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a map is made as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapShape {
    pub name: &'static str,
    pub kind: u32,
    pub key: u32,
    pub value: u32,
    pub rows: u32,
    pub flags: u32,
}

/// A map, whose rows have the sizes that it was made with.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    shape: MapShape,
}

impl Map {
    /// `like` is the pattern of the maps that this one holds; `btf` the types of key and value, where the kernel asks
    /// for them.
    pub(crate) fn create(shape: MapShape, like: Option<&Self>, btf: Option<(&OwnedFd, u32, u32)>) -> io::Result<Self> {
        let mut argument = Argument::new()
            .u32(0, shape.kind)
            .u32(4, shape.key)
            .u32(8, shape.value)
            .u32(12, shape.rows)
            .u32(16, shape.flags)
            .name(28, shape.name);
        if let Some(like) = like {
            argument = argument.fd(20, like.fd.as_fd());
        }
        if let Some((btf, key, value)) = btf {
            argument = argument.fd(48, btf.as_fd()).u32(52, key).u32(56, value);
        }
        Ok(Self { fd: owned(argument.call(command::MAP_CREATE)?)?, shape })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn checked(&self, key: &[u8], value: Option<usize>) -> io::Result<()> {
        let fits = key.len() == self.shape.key as usize && value.is_none_or(|len| len == self.value_size());
        if fits {
            Ok(())
        } else {
            Err(io::Error::other(format!("a row of another size than those of {}", self.shape.name)))
        }
    }

    /// What the kernel copies: maps of each processor have a row for each, of whole words.
    fn value_size(&self) -> usize {
        let size = self.shape.value as usize;
        if self.shape.kind == kind::PERCPU_ARRAY { size.next_multiple_of(8) * possible_cpus() } else { size }
    }

    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.checked(key, None)?;
        let mut value = vec![0; self.value_size()];
        let argument = Argument::new().fd(0, self.fd()).read(8, key).write(16, &mut value);
        match argument.call(command::MAP_LOOKUP) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.checked(key, Some(value.len()))?;
        Argument::new().fd(0, self.fd()).read(8, key).read(16, value).call(command::MAP_UPDATE).map(|_| ())
    }

    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.checked(key, None)?;
        Argument::new().fd(0, self.fd()).read(8, key).call(command::MAP_DELETE).map(|_| ())
    }

    /// From now on, no process can change its rows.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        Argument::new().fd(0, self.fd()).call(command::MAP_FREEZE).map(|_| ())
    }

    /// Many rows by one call.
    pub(crate) fn set_all(&self, keys: &[u8], values: &[u8]) -> io::Result<()> {
        let rows = keys.len() / self.shape.key.max(1) as usize;
        if keys.len() != rows * self.shape.key as usize || values.len() != rows * self.value_size() {
            return Err(io::Error::other(format!("rows of another size than those of {}", self.shape.name)));
        }
        if rows == 0 {
            return Ok(());
        }
        let rows = u32::try_from(rows).map_err(io::Error::other)?;
        let argument = Argument::new().read(16, keys).read(24, values).u32(32, rows).fd(36, self.fd());
        argument.call(command::MAP_UPDATE_BATCH).map(|_| ())
    }
}

/// Kinds of maps, by their numbers.
pub(crate) mod kind {
    pub(crate) const HASH: u32 = 1;
    pub(crate) const ARRAY: u32 = 2;
    pub(crate) const PERCPU_ARRAY: u32 = 6;
    pub(crate) const LRU_HASH: u32 = 9;
    pub(crate) const LPM_TRIE: u32 = 11;
    pub(crate) const ARRAY_OF_MAPS: u32 = 12;
    pub(crate) const CGROUP_STORAGE: u32 = 19;
    pub(crate) const SK_STORAGE: u32 = 24;
    pub(crate) const RINGBUF: u32 = 27;

    pub(crate) const NO_PREALLOC: u32 = 1;
    pub(crate) const CLONE: u32 = 1 << 9;
    /// An array of any length may stand in the place of this one.
    pub(crate) const INNER: u32 = 1 << 12;
}

/// Processors that may ever exist, for which the kernel keeps rows.
fn possible_cpus() -> usize {
    let listed = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = listed.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), |last| last + 1)
}

pub(crate) fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    owned(Argument::new().read(0, bytes).u32(16, size).call(command::BTF_LOAD)?)
}

/// A program as it is loaded.
pub(crate) struct ProgramText<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub attach_type: u32,
    /// Instructions of 8 bytes.
    pub code: &'a [u8],
    /// Ends with a zero byte.
    pub licence: &'a [u8],
}

/// Loads a program; the text is what the verifier reported: statistics, or why it refused.
pub(crate) fn load_program(text: &ProgramText<'_>) -> Result<(OwnedFd, String), (io::Error, String)> {
    const STATISTICS: u32 = 4;
    const EVERYTHING: u32 = 1;
    let attempt = |level: u32, log: &mut [u8]| {
        let instructions = u32::try_from(text.code.len() / 8).map_err(io::Error::other)?;
        let size = u32::try_from(log.len()).map_err(io::Error::other)?;
        let argument = Argument::new()
            .u32(0, text.kind)
            .u32(4, instructions)
            .read(8, text.code)
            .read(16, text.licence)
            .u32(24, level)
            .u32(28, size)
            .write(32, log)
            .name(48, text.name)
            .u32(68, text.attach_type);
        owned(argument.call(command::PROG_LOAD)?)
    };
    let mut log = vec![0; 4096];
    match attempt(STATISTICS, &mut log) {
        Ok(fd) => Ok((fd, until_zero(&log))),
        Err(error) => {
            // Once more for the reason, of which the end counts.
            let mut log = vec![0; 16 << 20];
            let _refused_again = attempt(EVERYTHING, &mut log);
            let lines = until_zero(&log);
            let lines: Vec<&str> = lines.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
            Err((error, last))
        }
    }
}

fn until_zero(bytes: &[u8]) -> String {
    let text: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&text).into_owned()
}

/// Attaches a program to a cgroup. The link is removed when its last descriptor closes.
pub(crate) fn attach(program: &OwnedFd, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let argument = Argument::new().fd(0, program.as_fd()).fd(4, cgroup).u32(8, attach_type);
    owned(argument.call(command::LINK_CREATE)?)
}

/// The first bytes of what the kernel knows of an object.
fn info<const SIZE: usize>(fd: BorrowedFd<'_>) -> io::Result<[u8; SIZE]> {
    let mut known = [0; SIZE];
    let size = u32::try_from(SIZE).map_err(io::Error::other)?;
    Argument::new().fd(0, fd).u32(4, size).write(8, &mut known).call(command::OBJECT_INFO)?;
    Ok(known)
}

/// Number and tag of a program; the tag is the kernel's digest of its instructions.
pub(crate) fn program_info(fd: &OwnedFd) -> io::Result<(u32, [u8; 8])> {
    let [_, _, _, _, a, b, c, d, tag @ ..] = info::<16>(fd.as_fd())?;
    Ok((u32::from_ne_bytes([a, b, c, d]), tag))
}

/// A link that is in the kernel: its cgroup, and the tag of its program. Finding one by its number needs CAP_SYS_ADMIN.
pub(crate) fn link_by_number(number: u32) -> io::Result<(u64, [u8; 8])> {
    let link = owned(Argument::new().u32(0, number).call(command::LINK_BY_NUMBER)?)?;
    let known = info::<24>(link.as_fd())?;
    let word = |at: usize| known.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let cgroup = known.get(16..24).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let program = owned(Argument::new().u32(0, word(8)).call(command::PROG_BY_NUMBER)?)?;
    Ok((cgroup, program_info(&program)?.1))
}

/// The number of a link, or of a map.
pub(crate) fn number_of(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let [_, _, _, _, a, b, c, d] = info::<8>(fd)?;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}
