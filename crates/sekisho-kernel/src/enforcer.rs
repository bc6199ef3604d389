//! Workloads and their policies in the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::abi::{Event, Hook, State};
use crate::maps::{Maps, RING_SIZE, SLOTS, Tables};
use crate::programs::{self, LoadError, Program};
use crate::receipt::{self, Enforcement, Receipt};
use crate::ring::Ring;
use crate::rows::{DoesNotFit, Rows};
use crate::rules::{Defaults, Direction, Policy, Verdict};
use crate::sys;

/// What a verdict does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes; what would be denied is reported and counted.
    Monitor,
    Enforce,
}

/// What happens once the agent has been silent for longer than the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The last policy stays in force.
    KeepPolicy,
    /// Flows that were allowed go on, new ones are denied.
    DenyNew,
    DenyAll,
    /// Everything passes.
    DangerAllow,
}

/// A workload, by the kernel's number of its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadId(pub u64);

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the maps cannot be created: {0}; this needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    Maps(#[source] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    #[error("`{}` is not a cgroup of version 2: {why}", .path.display())]
    NoCgroup { path: PathBuf, why: String },
    #[error("the kernel refused to attach `{program}` to `{}`: {error}", .path.display())]
    Attach { program: &'static str, path: PathBuf, error: io::Error },
    #[error("a cgroup is already governed by this loader; replace its policy instead")]
    Governed,
    #[error("`{}` is governed already, and one holds the other: govern the inner or the outer one", .0.display())]
    Nested(PathBuf),
    #[error("no workload is governed by this number")]
    Unknown,
    #[error("no slot is free for one more policy: {SLOTS} are in use")]
    NoSlot,
    #[error("tables of the kernel: {0}")]
    Tables(#[from] io::Error),
}

/// A program at its cgroup, and the kernel's number of the link, which is removed with the descriptor.
type Link = (Hook, u32, OwnedFd);

/// A policy in its slot.
#[derive(Debug)]
struct Placed {
    slot: u32,
    policy: Policy,
    tables: Tables,
}

#[derive(Debug)]
struct Workload {
    path: PathBuf,
    state: State,
    live: Placed,
    candidate: Option<Placed>,
    mode: Mode,
    links: Vec<Link>,
}

/// The programs, loaded once, and every workload that they govern. Dropping it removes all of it from the kernel.
#[derive(Debug)]
pub struct Enforcer {
    programs: Vec<Program>,
    maps: Maps,
    ring: Ring,
    generation: u32,
    free: Vec<u32>,
    workloads: BTreeMap<WorkloadId, Workload>,
}

/// Sums over all processors since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// New flows.
    pub judged: u64,
    /// Packets of flows that were judged before.
    pub remembered: u64,
    pub denied: u64,
    /// In monitor mode.
    pub would_deny: u64,
    /// New flows that the candidate policy decides otherwise.
    pub candidate_differs: u64,
    /// Questions after the lease had run out.
    pub lapsed: u64,
    /// Events for which the ring buffer had no space.
    pub lost_events: u64,
    /// Flows with many peers that could not be remembered.
    pub lost_flows: u64,
}

impl Enforcer {
    pub fn load() -> Result<Self, KernelError> {
        let maps = Maps::create().map_err(KernelError::Maps)?;
        let programs = programs::load(&maps)?;
        let ring = Ring::open(maps.fd("events")?, RING_SIZE)?;
        // Slot 0 is none; the last one stays empty (`Maps::retire`).
        let free = (1..SLOTS - 1).rev().collect();
        Ok(Self { programs, maps, ring, generation: 0, free, workloads: BTreeMap::new() })
    }

    /// How many instructions the verifier simulated for each program.
    pub fn verified(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.programs.iter().map(|program| (program.name, program.verified))
    }

    /// The kernel's digest of each program.
    pub fn tags(&self) -> Vec<(&'static str, String)> {
        self.programs.iter().map(|program| (program.name, program.tag.clone())).collect()
    }

    fn place(&mut self, policy: &Policy) -> Result<Placed, KernelError> {
        let rows = Rows::of(policy)?;
        let slot = self.free.pop().ok_or(KernelError::NoSlot)?;
        match self.maps.publish(slot, &rows, policy.rules().len()) {
            Ok(tables) => Ok(Placed { slot, policy: policy.clone(), tables }),
            Err(error) => {
                self.release(slot)?;
                Err(error.into())
            }
        }
    }

    fn release(&mut self, slot: u32) -> io::Result<()> {
        self.maps.retire(slot)?;
        self.free.push(slot);
        Ok(())
    }

    /// Puts a cgroup, with all cgroups in it, under a policy. From the first program on, the policy is complete.
    pub fn attach(
        &mut self,
        cgroup: &Path,
        policy: &Policy,
        mode: Mode,
        fallback: Fallback,
    ) -> Result<WorkloadId, KernelError> {
        let directory = open_cgroup(cgroup)?;
        let id = WorkloadId(directory.metadata()?.ino());
        if self.workloads.contains_key(&id) {
            return Err(KernelError::Governed);
        }
        // What a socket remembers is of one policy.
        let path = cgroup.canonicalize()?;
        let other = |workload: &&Workload| workload.path.starts_with(&path) || path.starts_with(&workload.path);
        if let Some(workload) = self.workloads.values().find(other) {
            return Err(KernelError::Nested(workload.path.clone()));
        }
        let live = self.place(policy)?;
        let state = State {
            id: id.0,
            live: live.slot,
            mode: number_of_mode(mode),
            fallback: number_of_fallback(fallback),
            denies: defaults(policy.defaults()),
            tables: live.tables.used,
            ..State::default()
        };
        match self.link(cgroup, &directory, state) {
            Ok((state, links)) => {
                self.workloads.insert(id, Workload { path, state, live, candidate: None, mode, links });
                Ok(id)
            }
            Err(error) => {
                self.release(live.slot)?;
                Err(error)
            }
        }
    }

    fn link(&mut self, cgroup: &Path, directory: &File, state: State) -> Result<(State, Vec<Link>), KernelError> {
        let attach = |program: &Program| {
            let failed = |error| KernelError::Attach { program: program.name, path: cgroup.to_owned(), error };
            sys::attach(&program.fd, directory.as_fd(), program.attach_type).map_err(failed)
        };
        // It holds the storage until the others do.
        let anchor = self.programs.iter().find(|program| program.hook.is_none()).map(attach).transpose()?;
        self.generation += 1;
        let state = State { generation: self.generation, ..state };
        self.write(state)?;
        let mut links = Vec::new();
        for program in &self.programs {
            if let Some(hook) = program.hook {
                let link = attach(program)?;
                links.push((hook, sys::number_of(link.as_fd())?, link));
            }
        }
        drop(anchor);
        Ok((state, links))
    }

    fn write(&self, state: State) -> io::Result<()> {
        self.maps.get("workloads")?.set(&state.id.to_ne_bytes(), &state.bytes())
    }

    /// Replaces the state of a workload as a whole, so that its flows are judged again.
    fn change(&mut self, id: WorkloadId, change: impl FnOnce(&mut State)) -> Result<(), KernelError> {
        self.generation += 1;
        let generation = self.generation;
        let workload = self.workloads.get(&id).ok_or(KernelError::Unknown)?;
        let mut state = workload.state;
        change(&mut state);
        state.generation = generation;
        self.write(state)?;
        if let Some(workload) = self.workloads.get_mut(&id) {
            workload.state = state;
        }
        Ok(())
    }

    /// Puts another policy into force, with one write. Open flows are judged again by their next packet.
    pub fn replace(&mut self, id: WorkloadId, policy: &Policy) -> Result<(), KernelError> {
        self.known(id)?;
        let placed = self.place(policy)?;
        let (slot, denies, tables) = (placed.slot, defaults(policy.defaults()), placed.tables.used);
        self.change(id, |state| (state.live, state.denies, state.tables) = (slot, denies, tables))?;
        let old = self.workloads.get_mut(&id).map(|workload| std::mem::replace(&mut workload.live, placed));
        Ok(old.map_or(Ok(()), |old| self.release(old.slot))?)
    }

    /// Decides each new flow by a candidate policy as well, without effect. What it decides otherwise is reported.
    pub fn shadow(&mut self, id: WorkloadId, policy: Option<&Policy>) -> Result<(), KernelError> {
        self.known(id)?;
        let placed = policy.map(|policy| self.place(policy)).transpose()?;
        let (slot, denies, tables) = placed
            .as_ref()
            .map_or((0, 0, 0), |placed| (placed.slot, defaults(placed.policy.defaults()), placed.tables.used));
        self.change(id, |state| {
            (state.candidate, state.candidate_denies, state.candidate_tables) = (slot, denies, tables);
        })?;
        let old = self.workloads.get_mut(&id).and_then(|workload| std::mem::replace(&mut workload.candidate, placed));
        Ok(old.map_or(Ok(()), |old| self.release(old.slot))?)
    }

    pub fn set_mode(&mut self, id: WorkloadId, mode: Mode) -> Result<(), KernelError> {
        self.change(id, |state| state.mode = number_of_mode(mode))?;
        if let Some(workload) = self.workloads.get_mut(&id) {
            workload.mode = mode;
        }
        Ok(())
    }

    /// Workloads fall back when this is not called again within the time. Before the first call, no lease runs.
    pub fn renew_lease(&self, lease: Duration) -> Result<(), KernelError> {
        let until = monotonic_ns().saturating_add(u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX));
        Ok(self.maps.get("lease")?.set(&0_u32.to_ne_bytes(), &until.to_ne_bytes())?)
    }

    /// Removes the programs from the cgroup.
    pub fn detach(&mut self, id: WorkloadId) -> Result<(), KernelError> {
        let workload = self.workloads.remove(&id).ok_or(KernelError::Unknown)?;
        drop(workload.links);
        self.release(workload.live.slot)?;
        Ok(workload.candidate.map_or(Ok(()), |candidate| self.release(candidate.slot))?)
    }

    fn known(&self, id: WorkloadId) -> Result<&Workload, KernelError> {
        self.workloads.get(&id).ok_or(KernelError::Unknown)
    }

    /// For each rule: where it is enforced, proof that it is loaded, and how often it decided.
    pub fn receipts(&self, id: WorkloadId) -> Result<Vec<Receipt>, KernelError> {
        let workload = self.known(id)?;
        let points: Vec<receipt::Point> = workload
            .links
            .iter()
            .filter_map(|(hook, link, _)| {
                let program = self.programs.iter().find(|program| program.hook == Some(*hook))?;
                Some(receipt::Point { hook: *hook, program: program.number, tag: program.tag.clone(), link: *link })
            })
            .collect();
        let context = receipt::Context {
            points: &points,
            enforcement: match workload.mode {
                Mode::Enforce => Enforcement::Enforced,
                Mode::Monitor => Enforcement::ReportedOnly,
            },
            generation: workload.state.generation,
            kernel: release(),
        };
        Ok(receipt::of_rules(&context, &workload.live.policy, &workload.live.tables)?)
    }

    /// The links of a workload. Who has them keeps its rules in force, also without this value.
    pub fn links(&self, id: WorkloadId) -> Result<impl Iterator<Item = BorrowedFd<'_>>, KernelError> {
        Ok(self.known(id)?.links.iter().map(|(_, _, link)| link.as_fd()))
    }

    pub fn counters(&self) -> Result<Counters, KernelError> {
        let map = self.maps.get("counters")?;
        let sum = |index: u32| -> io::Result<u64> {
            let row = map.get(&index.to_ne_bytes())?.unwrap_or_default();
            let words = row.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_ne_bytes));
            Ok(words.fold(0, u64::wrapping_add))
        };
        Ok(Counters {
            judged: sum(0)?,
            remembered: sum(1)?,
            denied: sum(2)?,
            would_deny: sum(3)?,
            candidate_differs: sum(4)?,
            lapsed: sum(5)?,
            lost_events: sum(6)?,
            lost_flows: sum(7)?,
        })
    }

    /// What was reported since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.ring.read(|record| events.extend(Event::read(record)));
        events
    }
}

fn open_cgroup(path: &Path) -> Result<File, KernelError> {
    let no_cgroup = |why: String| KernelError::NoCgroup { path: path.to_owned(), why };
    let directory = File::open(path).map_err(|error| no_cgroup(error.to_string()))?;
    let file_system = rustix::fs::fstatfs(&directory).map_err(|error| no_cgroup(error.to_string()))?;
    if file_system.f_type != CGROUP2 {
        return Err(no_cgroup("it is on another file system".to_owned()));
    }
    Ok(directory)
}

/// `CGROUP2_SUPER_MAGIC`.
pub(crate) const CGROUP2: rustix::fs::FsWord = 0x6367_7270;

const fn number_of_mode(mode: Mode) -> u8 {
    match mode {
        Mode::Monitor => 1,
        Mode::Enforce => 2,
    }
}

const fn number_of_fallback(fallback: Fallback) -> u8 {
    match fallback {
        Fallback::KeepPolicy => 0,
        Fallback::DenyNew => 1,
        Fallback::DenyAll => 2,
        Fallback::DangerAllow => 3,
    }
}

fn defaults(defaults: Defaults) -> u8 {
    [Direction::Out, Direction::In, Direction::Bind].into_iter().fold(0, |bits, direction| {
        let deny = u8::from(defaults.of(direction) == Verdict::Deny);
        bits | (deny << crate::abi::direction(direction))
    })
}

/// The clock that the programs compare the lease with; a simulated clock would mean nothing to them.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(u64::MAX)
}

pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
