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
        let (table, map) =
            if exact_flow(rule).is_some() { ("exact flows", exact) } else { ("ports by address block", ports) };
        Ok(Receipt {
            rule: rule.id.clone(),
            enforcement: context.enforcement,
            points: context.points.iter().filter(|point| asks(point.hook, rule)).cloned().collect(),
            table,
            map,
            generation: context.generation,
            kernel: context.kernel.clone(),
            allowed: count(0),
            denied: count(8),
        })
    });
    receipts.collect()
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
