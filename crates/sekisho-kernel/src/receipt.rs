//! Where each rule is enforced, with proof of load (law L15).

use std::io;

use crate::abi::Hook;
use crate::maps::Tables;
use crate::rows::exact_flow;
use crate::rules::{Direction, Peers, Policy, Protocol, Rule};
use crate::sys;

/// A program that asks about a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub hook: Hook,
    /// The kernel's numbers of program and link, as `bpftool` lists them.
    pub program: u32,
    pub link: u32,
    /// The kernel's digest of the program.
    pub tag: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    Enforced,
    /// Monitor mode: what it would deny passes, and is reported.
    ReportedOnly,
}

/// One rule in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub rule: String,
    pub enforcement: Enforcement,
    /// Programs that look the rule up.
    pub points: Vec<Point>,
    /// The table, and the kernel's number of it.
    pub table: &'static str,
    pub map: u32,
    /// SHA-256 of its rows as they were loaded: keys in the order of the loader, then values. Nothing can change them.
    pub digest: String,
    /// The state of the workload that put it into force.
    pub generation: u32,
    pub kernel: String,
    /// New flows that it decided.
    pub allowed: u64,
    pub denied: u64,
}

pub(crate) struct Context<'a> {
    pub points: &'a [Point],
    pub enforcement: Enforcement,
    pub generation: u32,
    pub kernel: String,
}

pub(crate) fn of_rules(context: &Context<'_>, policy: &Policy, tables: &Tables) -> io::Result<Vec<Receipt>> {
    let (exact, ports) = (sys::number_of(tables.exact.fd())?, sys::number_of(tables.ports.fd())?);
    let receipts = (0_u32..).zip(policy.rules()).map(|(index, rule)| {
        let counted = tables.counts.get(&index.to_ne_bytes())?.unwrap_or_default();
        let count =
            |at: usize| counted.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let (table, map, digest) = if exact_flow(rule).is_some() {
            ("exact flows", exact, &tables.exact_digest)
        } else {
            ("ports by address block", ports, &tables.ports_digest)
        };
        Ok(Receipt {
            rule: rule.id.clone(),
            enforcement: context.enforcement,
            points: context.points.iter().filter(|point| asks(point.hook, rule)).cloned().collect(),
            table,
            map,
            digest: digest.clone(),
            generation: context.generation,
            kernel: context.kernel.clone(),
            allowed: count(0),
            denied: count(8),
        })
    });
    receipts.collect()
}

/// What the kernel knows of a link that a receipt names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InForce {
    /// Its program, of the tag of the receipt, is attached to this cgroup.
    Yes { cgroup: u64 },
    /// The link is gone, or has another program.
    No,
    /// This process may not ask.
    Unknown(String),
}

/// Whether a point of a receipt is in the kernel at this moment.
pub fn in_force(link: u32, tag: &str) -> InForce {
    match sys::link_by_number(link) {
        Ok((cgroup, found)) if found.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == tag => {
            InForce::Yes { cgroup }
        }
        Ok(_) => InForce::No,
        Err(error) if error.kind() == io::ErrorKind::NotFound => InForce::No,
        Err(error) => InForce::Unknown(format!("{error}; only root can ask the kernel for links")),
    }
}

/// Whether a program may look a rule up. One for IPv6 also sees IPv4 in its mapped form.
fn asks(hook: Hook, rule: &Rule) -> bool {
    let may_be_ipv4 = match rule.peers {
        Peers::Any => true,
        Peers::Of(network) => network.is_ipv4(),
    };
    let out = rule.direction == Direction::Out;
    match hook {
        Hook::Connect4 => out && may_be_ipv4,
        Hook::Connect6 => out,
        Hook::Sendmsg4 => out && may_be_ipv4 && matches!(rule.protocol, Protocol::Any | Protocol::Udp),
        Hook::Sendmsg6 => out && matches!(rule.protocol, Protocol::Any | Protocol::Udp),
        Hook::Bind4 => rule.direction == Direction::Bind && may_be_ipv4,
        Hook::Bind6 => rule.direction == Direction::Bind,
        Hook::SockCreate => false,
        Hook::Ingress | Hook::Egress => rule.direction != Direction::Bind,
    }
}
