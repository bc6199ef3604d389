//! The programs of the object, loaded: each passed the verifier of this kernel and has its tag.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::abi::Hook;
use crate::maps::Maps;
use crate::object::{self, Object};
use crate::sys::{ProgramText, load_program, program_info};

const OBJECT: &[u8] = include_bytes!("../bpf/network.bpf.o");

/// Kinds of programs and of places where they are attached, by the kernel's numbers.
mod number {
    pub(super) const SKB: u32 = 8;
    pub(super) const SOCK: u32 = 9;
    pub(super) const SOCK_ADDR: u32 = 18;
}

struct Place {
    section: &'static str,
    /// `None` for the program that only makes the storage.
    hook: Option<Hook>,
    kind: u32,
    attach_type: u32,
}

const fn place(section: &'static str, hook: Hook, kind: u32, attach_type: u32) -> Place {
    Place { section, hook: Some(hook), kind, attach_type }
}

/// In the order in which they are attached.
const PLACES: [Place; 10] = [
    Place { section: "cgroup/sock_release", hook: None, kind: number::SOCK, attach_type: 34 },
    place("cgroup/sock_create", Hook::SockCreate, number::SOCK, 2),
    place("cgroup/bind4", Hook::Bind4, number::SOCK_ADDR, 8),
    place("cgroup/bind6", Hook::Bind6, number::SOCK_ADDR, 9),
    place("cgroup/connect4", Hook::Connect4, number::SOCK_ADDR, 10),
    place("cgroup/connect6", Hook::Connect6, number::SOCK_ADDR, 11),
    place("cgroup/sendmsg4", Hook::Sendmsg4, number::SOCK_ADDR, 14),
    place("cgroup/sendmsg6", Hook::Sendmsg6, number::SOCK_ADDR, 15),
    place("cgroup_skb/ingress", Hook::Ingress, number::SKB, 0),
    place("cgroup_skb/egress", Hook::Egress, number::SKB, 1),
];

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    pub hook: Option<Hook>,
    pub name: &'static str,
    pub attach_type: u32,
    pub fd: OwnedFd,
    pub number: u32,
    /// The kernel's digest of the instructions.
    pub tag: String,
    /// Instructions that the verifier simulated.
    pub verified: u32,
}

/// Why a program was not loaded: the kernel's error, and the end of the verifier's log.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the program `{program}`: {error}{}", log_of(.log))]
pub struct LoadError {
    pub program: String,
    pub error: io::Error,
    pub log: String,
}

fn log_of(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; the end of its verifier's log:\n{log}") }
}

impl LoadError {
    pub(crate) fn of_program(program: &str, error: io::Error) -> Self {
        Self { program: program.to_owned(), error, log: String::new() }
    }
}

pub(crate) fn load(maps: &Maps) -> Result<Vec<Program>, LoadError> {
    let no_object = || LoadError::of_program("network.bpf.o", io::Error::other("the object in this binary is damaged"));
    if cfg!(target_endian = "big") {
        let error = io::Error::other("the object is for little-endian machines");
        return Err(LoadError::of_program("network.bpf.o", error));
    }
    let object = object::read(OBJECT).ok_or_else(no_object)?;
    PLACES.iter().map(|place| one(&object, place, maps)).collect()
}

fn one(object: &Object, place: &Place, maps: &Maps) -> Result<Program, LoadError> {
    let failed = |error| LoadError::of_program(place.section, error);
    let found = object.programs.iter().find(|program| program.section == place.section);
    let program = found.ok_or_else(|| failed(io::Error::other("the object has no such program")))?;
    let mut code = program.code.clone();
    for (at, map) in &program.maps {
        refer(&mut code, *at, maps.fd(map).map_err(failed)?.as_raw_fd())
            .ok_or_else(|| failed(io::Error::other("a relocation outside the program")))?;
    }
    let name = place.section.rsplit('/').next().unwrap_or(place.section);
    let text =
        ProgramText { name, kind: place.kind, attach_type: place.attach_type, code: &code, licence: &object.licence };
    let (fd, log) =
        load_program(&text).map_err(|(error, log)| LoadError { program: place.section.to_owned(), error, log })?;
    let (number, tag) = program_info(&fd).map_err(failed)?;
    let tag = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let verified = verified_instructions(&log).unwrap_or(0);
    Ok(Program { hook: place.hook, name, attach_type: place.attach_type, fd, number, tag, verified })
}

/// Makes the instruction at `at` load the map of this descriptor.
fn refer(code: &mut [u8], at: usize, map: i32) -> Option<()> {
    const MAP_BY_DESCRIPTOR: u8 = 1;
    let registers = code.get_mut(at.checked_add(1)?)?;
    *registers = (*registers & 0x0f) | (MAP_BY_DESCRIPTOR << 4);
    code.get_mut(at.checked_add(4)?..at.checked_add(8)?)?.copy_from_slice(&map.to_ne_bytes());
    Some(())
}

/// From `processed 1234 insns (limit 1000000) …`.
fn verified_instructions(log: &str) -> Option<u32> {
    log.split_once("processed ")?.1.split(' ').next()?.parse().ok()
}
