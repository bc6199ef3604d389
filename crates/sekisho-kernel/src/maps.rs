//! The maps of the programs, and the tables of a policy in a slot.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aws_lc_rs::digest;

use crate::abi;
use crate::rows::Rows;
use crate::sys::{Map, MapShape, kind, load_btf};

/// Slots of policies: two for each workload, and the last, which stays empty.
pub(crate) const SLOTS: u32 = 4096;
/// Bytes of the ring buffer: 3,640 events that were not read yet.
pub(crate) const RING_SIZE: u32 = 256 << 10;
/// Flows of sockets with many peers; the least recently used is forgotten.
const PEERS: u32 = 16384;

const fn shape(name: &'static str, kind: u32, key: u32, value: u32, rows: u32, flags: u32) -> MapShape {
    MapShape { name, kind, key, value, rows, flags }
}

/// The maps that a slot holds, by the name of their outer map.
const INNER: [(&str, MapShape); 4] = [
    ("exact_of", shape("exact", kind::HASH, abi::FLOW_SIZE, abi::ANSWER_SIZE, 1, 0)),
    ("classes_of", shape("classes", kind::LPM_TRIE, abi::BLOCK_SIZE, 4, 1, kind::NO_PREALLOC)),
    ("ports_of", shape("ports", kind::LPM_TRIE, abi::PORT_BLOCK_SIZE, abi::ANSWER_SIZE, 1, kind::NO_PREALLOC)),
    ("counts_of", shape("counts", kind::ARRAY, 4, abi::COUNT_SIZE, 1, kind::INNER)),
];

const SINGLE: [MapShape; 5] = [
    shape("workloads", kind::CGROUP_STORAGE, 8, abi::WORKLOAD_SIZE, 0, 0),
    shape("peers", kind::LRU_HASH, abi::PEER_SIZE, abi::PEER_FLOW_SIZE, PEERS, 0),
    shape("lease", kind::ARRAY, 4, 8, 1, 0),
    shape("counters", kind::PERCPU_ARRAY, 4, 8, abi::COUNTERS, 0),
    shape("events", kind::RINGBUF, 0, 0, RING_SIZE, 0),
];

#[derive(Debug)]
pub(crate) struct Maps {
    by_name: BTreeMap<&'static str, Map>,
}

impl Maps {
    pub(crate) fn create() -> io::Result<Self> {
        let mut by_name = BTreeMap::new();
        for single in SINGLE {
            by_name.insert(single.name, named(single.name, Map::create(single, None, None))?);
        }
        for (outer, inner) in INNER {
            let pattern = named(inner.name, Map::create(inner, None, None))?;
            let outer = shape(outer, kind::ARRAY_OF_MAPS, 4, 4, SLOTS, 0);
            by_name.insert(outer.name, named(outer.name, Map::create(outer, Some(&pattern), None))?);
        }
        let types = named("the types of `sockets`", load_btf(&abi::socket_types()))?;
        let sockets = shape("sockets", kind::SK_STORAGE, 4, abi::SOCKET_SIZE, 0, kind::NO_PREALLOC | kind::CLONE);
        by_name.insert(sockets.name, named(sockets.name, Map::create(sockets, None, Some((&types, 1, 3))))?);
        let maps = Self { by_name };
        maps.get("lease")?.set(&0_u32.to_ne_bytes(), &u64::MAX.to_ne_bytes())?;
        Ok(maps)
    }

    pub(crate) fn get(&self, name: &str) -> io::Result<&Map> {
        self.by_name
            .get(name)
            .ok_or_else(|| io::Error::other(format!("the object names a map `{name}` that does not exist")))
    }

    pub(crate) fn fd(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        self.get(name).map(Map::fd)
    }

    /// Fills tables and puts them into a slot that no workload uses yet.
    pub(crate) fn publish(&self, slot: u32, rows: &Rows, rules: usize) -> io::Result<Tables> {
        let [exact, classes, ports, counts] = INNER.map(|(_, inner)| inner);
        let (exact, exact_digest) =
            filled(exact, rows.exact.iter().map(|(flow, answer)| (abi::flow(flow), abi::answer(*answer))))?;
        let blocks = (0_u32..).zip(&rows.classes);
        let (classes, _) =
            filled(classes, blocks.map(|(class, block)| (abi::block(*block), class.to_ne_bytes().to_vec())))?;
        let (ports, ports_digest) =
            filled(ports, rows.ports.iter().map(|(row, answer)| (abi::port_block(row), abi::answer(*answer))))?;
        let rules = u32::try_from(rules.max(1)).map_err(io::Error::other)?;
        let counts = named("counts", Map::create(MapShape { rows: rules, ..counts }, None, None))?;
        let inner = [&exact, &classes, &ports, &counts];
        self.at_once(|index, outer| {
            let inner = inner.get(index).map(|inner| inner.fd().as_raw_fd()).unwrap_or_default();
            outer.set(&slot.to_ne_bytes(), &inner.to_ne_bytes())
        })?;
        let used = abi::tables(rows.exact.len(), rows.classes.len());
        Ok(Tables { exact, exact_digest, ports, ports_digest, counts, used })
    }

    /// Changes all outer maps. Each change waits for programs that run, so they wait together.
    fn at_once(&self, change: impl Fn(usize, &Map) -> io::Result<()> + Sync) -> io::Result<()> {
        let change = &change;
        std::thread::scope(|scope| {
            let threads = INNER.iter().enumerate().map(|(index, (outer, _))| {
                let outer = self.get(outer)?;
                std::thread::Builder::new().spawn_scoped(scope, move || change(index, outer))
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().try_for_each(|thread| {
                thread?.join().unwrap_or_else(|_| Err(io::Error::other("a change of the tables did not finish")))
            })
        })
    }

    /// Empties a slot. Programs that began before the state of their workload named another slot may still read it, so
    /// it waits for them first: a change of an outer map returns after every program that runs has finished.
    pub(crate) fn retire(&self, slot: u32) -> io::Result<()> {
        let [(first, inner), ..] = INNER;
        let nothing = Map::create(inner, None, None)?;
        self.get(first)?.set(&(SLOTS - 1).to_ne_bytes(), &nothing.fd().as_raw_fd().to_ne_bytes())?;
        self.at_once(|_, outer| match outer.remove(&slot.to_ne_bytes()) {
            // Some of them were never set, if that failed.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        })
    }
}

/// The tables of one policy, by which its rules are proved and counted.
#[derive(Debug)]
pub(crate) struct Tables {
    pub exact: Map,
    pub exact_digest: String,
    pub ports: Map,
    pub ports_digest: String,
    pub counts: Map,
    /// Those that have rows.
    pub used: u8,
}

fn named<T>(name: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
}

/// A map of these rows, which no process can change, and the digest of the rows.
fn filled(shape: MapShape, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> io::Result<(Map, String)> {
    let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0_u32);
    for (key, value) in rows {
        keys.extend(key);
        values.extend(value);
        count += 1;
    }
    let map = named(shape.name, Map::create(MapShape { rows: count.max(1), ..shape }, None, None))?;
    named(shape.name, map.set_all(&keys, &values))?;
    named(shape.name, map.freeze())?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&keys);
    context.update(&values);
    let digest = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((map, digest))
}
