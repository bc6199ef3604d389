//! Rules as the tables that the programs look up: exact flows, classes of addresses, and ports by class.
//!
//! A rule for one address, one port and TCP or UDP is a row of the table of exact flows. All others are found by two
//! lookups: the smallest listed block that holds the address gives its class, and the class with direction, protocol
//! and port gives the verdict. Whatever overlaps is resolved here: a row holds the verdict of all rules that concern
//! it, so the kernel compares nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::rules::{
    Direction, ICMP, IPV4, Network, Peers, Policy, Ports, Protocol, Rank, Rule, TCP, UDP, Verdict, WILDCARDS,
};

/// One flow. For `In` and `Bind` the port is that of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub address: u128,
    pub port: u16,
    pub protocol: u8,
    pub direction: Direction,
}

/// Ports of a class. Only the first `bits` of direction, protocol and port are compared: 8, 16, or 16 and some of the
/// port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortBlock {
    pub class: u32,
    pub direction: Direction,
    pub protocol: u8,
    pub port: u16,
    pub bits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub rule: u32,
    pub verdict: Verdict,
}

/// The tables of one policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub exact: Vec<(Flow, Answer)>,
    /// The class of a block is its place in this list.
    pub classes: Vec<Network>,
    pub ports: Vec<(PortBlock, Answer)>,
}

/// A policy that is larger than the tables may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy needs {needed} rows of {table}, and {limit} is the limit: merge rules into larger blocks or ranges"
)]
pub struct DoesNotFit {
    pub table: &'static str,
    pub needed: usize,
    pub limit: usize,
}

const EXACT_LIMIT: usize = 1_000_000;
const CLASS_LIMIT: usize = 100_000;
const PORT_LIMIT: usize = 1_000_000;

/// The flow of a rule that concerns only one.
pub(crate) fn exact_flow(rule: &Rule) -> Option<Flow> {
    let protocol = match rule.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Any | Protocol::Icmp => return None,
    };
    match rule.peers {
        Peers::Of(network) if network.bits == 128 && rule.ports.first == rule.ports.last => {
            Some(Flow { address: network.address, port: rule.ports.first, protocol, direction: rule.direction })
        }
        _ => None,
    }
}

impl Rows {
    pub(crate) fn of(policy: &Policy) -> Result<Self, DoesNotFit> {
        let parts = Parts::of(policy);
        let mut rows = Self { exact: parts.exact(), ..Self::default() };
        fits("exact flows", rows.exact.len(), EXACT_LIMIT)?;
        let blocks = parts.blocks();
        fits("address blocks", blocks.len(), CLASS_LIMIT)?;
        for (class, block) in (0..).zip(blocks) {
            rows.classes.push(block);
            parts.ports(class, block, &mut rows.ports);
            fits("ports", rows.ports.len(), PORT_LIMIT)?;
        }
        Ok(rows)
    }
}

const fn fits(table: &'static str, needed: usize, limit: usize) -> Result<(), DoesNotFit> {
    if needed > limit { Err(DoesNotFit { table, needed, limit }) } else { Ok(()) }
}

type Numbered<'a> = (u32, &'a Rule);

/// The rules by the kind of row that they become.
struct Parts<'a> {
    exact: HashMap<Flow, Vec<Numbered<'a>>>,
    /// Rules for blocks, by the length of the block.
    blocks: BTreeMap<u8, HashMap<u128, Vec<Numbered<'a>>>>,
    /// Rules for every address.
    any: Vec<Numbered<'a>>,
    /// What a socket that takes all addresses is denied.
    wildcards: Vec<Numbered<'a>>,
}

impl<'a> Parts<'a> {
    fn of(policy: &'a Policy) -> Self {
        let mut parts = Self { exact: HashMap::new(), blocks: BTreeMap::new(), any: Vec::new(), wildcards: Vec::new() };
        for (index, rule) in (0..).zip(policy.rules()) {
            let numbered = (index, rule);
            if rule.denies_wildcards() {
                parts.wildcards.push(numbered);
            }
            match (exact_flow(rule), rule.peers) {
                (Some(flow), _) => parts.exact.entry(flow).or_default().push(numbered),
                (None, Peers::Any) => parts.any.push(numbered),
                (None, Peers::Of(block)) => {
                    parts.blocks.entry(block.bits).or_default().entry(block.address).or_default().push(numbered);
                }
            }
        }
        parts
    }

    /// Every rule that concerns all of a block, beside rules for exact flows; some twice.
    fn concerning(&self, block: Network) -> impl Iterator<Item = Numbered<'a>> {
        let of_blocks = self
            .blocks
            .range(..=block.bits)
            .filter_map(move |(bits, listed)| listed.get(&(block.address & Network::mask(*bits))));
        let wildcards: &[_] = if WILDCARDS.contains(&block) { &self.wildcards } else { &[] };
        let all = of_blocks.flatten().chain(&self.any).chain(wildcards);
        all.copied().filter(move |(_, rule)| rule.concerns(block))
    }

    fn exact(&self) -> Vec<(Flow, Answer)> {
        let mut rows: Vec<(Flow, Answer)> = Vec::with_capacity(self.exact.len());
        for (flow, own) in &self.exact {
            let block = Network { address: flow.address, bits: 128 };
            let others = self
                .concerning(block)
                .filter(|(_, rule)| rule.direction == flow.direction && rule.is_for(flow.protocol, flow.port));
            let ranks = own.iter().copied().chain(others).map(|(index, rule)| rule.rank(index));
            rows.extend(ranks.min().map(|rank| (*flow, answer(rank))));
        }
        rows.sort_unstable_by_key(|(flow, _)| *flow);
        rows
    }

    /// Blocks that have a class of their own.
    fn blocks(&self) -> BTreeSet<Network> {
        let listed = self
            .blocks
            .iter()
            .flat_map(|(bits, listed)| listed.keys().map(|address| Network { address: *address, bits: *bits }));
        let mut blocks: BTreeSet<Network> = listed.collect();
        if !self.any.is_empty() {
            blocks.insert(Network { address: 0, bits: 0 });
        }
        // A block of IPv6 that holds the mapped addresses does not speak for IPv4.
        if blocks.iter().any(|block| block.holds(IPV4)) {
            blocks.insert(IPV4);
        }
        if !self.wildcards.is_empty() {
            blocks.extend(WILDCARDS);
        }
        blocks
    }

    fn ports(&self, class: u32, block: Network, rows: &mut Vec<(PortBlock, Answer)>) {
        let concerning: Vec<Numbered<'_>> = self.concerning(block).collect();
        for direction in [Direction::Out, Direction::In, Direction::Bind] {
            let rules: Vec<Numbered<'_>> =
                concerning.iter().copied().filter(|(_, rule)| rule.direction == direction).collect();
            let row = |protocol, port, bits| PortBlock { class, direction, protocol, port, bits };
            let (general, special): (Vec<_>, Vec<_>) =
                rules.iter().copied().partition(|(_, rule)| rule.protocol == Protocol::Any && rule.ports.is_all());
            rows.extend(first(&general).map(|answer| (row(0, 0, 8), answer)));
            for protocol in [TCP, UDP] {
                let own = |rule: &Rule| match rule.protocol {
                    Protocol::Any => true,
                    Protocol::Tcp => protocol == TCP,
                    Protocol::Udp => protocol == UDP,
                    Protocol::Icmp => false,
                };
                if special.iter().any(|(_, rule)| own(rule)) {
                    let mine: Vec<_> = rules.iter().copied().filter(|(_, rule)| own(rule)).collect();
                    for (ports, answer) in ranges(&mine) {
                        rows.extend(aligned(ports).map(|(port, bits)| (row(protocol, port, 16 + bits), answer)));
                    }
                }
            }
            if special.iter().any(|(_, rule)| rule.protocol == Protocol::Icmp) {
                let mine: Vec<_> = rules.iter().copied().filter(|(_, rule)| rule.is_for(ICMP, 0)).collect();
                rows.extend(first(&mine).map(|answer| (row(ICMP, 0, 16), answer)));
            }
        }
    }
}

const fn answer(rank: Rank) -> Answer {
    Answer { rule: rank.2, verdict: rank.0 }
}

fn first(rules: &[Numbered<'_>]) -> Option<Answer> {
    rules.iter().map(|(index, rule)| rule.rank(*index)).min().map(answer)
}

/// Ports cut where the answer changes. Ports that no rule names are absent.
fn ranges(rules: &[Numbered<'_>]) -> Vec<(Ports, Answer)> {
    let mut changes: BTreeMap<u32, Vec<(bool, Rank)>> = BTreeMap::new();
    for (index, rule) in rules {
        let rank = rule.rank(*index);
        changes.entry(rule.ports.first.into()).or_default().push((true, rank));
        changes.entry(u32::from(rule.ports.last) + 1).or_default().push((false, rank));
    }
    let mut active: BTreeSet<Rank> = BTreeSet::new();
    let mut cut: Vec<(Ports, Answer)> = Vec::new();
    let mut open: Option<(u32, Answer)> = None;
    for (port, changes) in changes {
        for (begins, rank) in changes {
            if begins {
                active.insert(rank)
            } else {
                active.remove(&rank)
            };
        }
        let now = active.first().copied().map(answer);
        if now != open.map(|(_, answer)| answer) {
            let last = u16::try_from(port.saturating_sub(1)).unwrap_or(u16::MAX);
            if let Some((first, answer)) = open {
                cut.push((Ports { first: u16::try_from(first).unwrap_or(u16::MAX), last }, answer));
            }
            open = now.map(|answer| (port, answer));
        }
    }
    cut
}

/// A range as blocks that begin at a multiple of their size, with the bits of the port that each compares.
fn aligned(ports: Ports) -> impl Iterator<Item = (u16, u32)> {
    let mut next = u32::from(ports.first);
    let end = u32::from(ports.last) + 1;
    std::iter::from_fn(move || {
        let left = end.checked_sub(next).filter(|left| *left > 0)?;
        let size = (1_u32 << next.trailing_zeros().min(16)).min(1 << left.ilog2());
        let block = (u16::try_from(next).ok()?, 16 - size.ilog2());
        next += size;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_the_fewest_blocks() {
        assert_eq!(aligned(Ports::ALL).collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(aligned(Ports::one(443)).collect::<Vec<_>>(), [(443, 16)]);
        assert_eq!(aligned(Ports { first: 1, last: 6 }).collect::<Vec<_>>(), [(1, 16), (2, 15), (4, 15), (6, 16)]);
        assert_eq!(aligned(Ports { first: 1024, last: u16::MAX }).count(), 6);
        for ports in [Ports { first: 1, last: 65534 }, Ports { first: 8000, last: 9999 }, Ports::one(65535)] {
            let covered: u32 = aligned(ports).map(|(_, bits)| 1 << (16 - bits)).sum();
            assert_eq!(covered, u32::from(ports.last) - u32::from(ports.first) + 1);
        }
    }
}
