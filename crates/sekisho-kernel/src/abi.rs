//! The rows that programs and loader share, as bytes. `bpf/network.h` holds the same layouts.

use std::net::{IpAddr, Ipv6Addr};

use crate::rows::{Answer, Flow, PortBlock};
use crate::rules::{Direction, Network, Verdict};

/// Where a rule would stand.
pub(crate) const NO_RULE: u32 = u32::MAX;
pub(crate) const WORKLOAD_SIZE: u32 = 32;
pub(crate) const FLOW_SIZE: u32 = 20;
pub(crate) const BLOCK_SIZE: u32 = 20;
pub(crate) const PORT_BLOCK_SIZE: u32 = 12;
pub(crate) const ANSWER_SIZE: u32 = 8;
pub(crate) const COUNT_SIZE: u32 = 16;
pub(crate) const SOCKET_SIZE: u32 = 36;
pub(crate) const PEER_SIZE: u32 = 32;
pub(crate) const PEER_FLOW_SIZE: u32 = 12;
pub(crate) const COUNTERS: u32 = 8;

/// Tables that have rows.
pub(crate) fn tables(exact: usize, blocks: usize) -> u8 {
    u8::from(exact > 0) | (u8::from(blocks > 0) << 1)
}

/// The state of a workload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub id: u64,
    pub generation: u32,
    pub live: u32,
    pub candidate: u32,
    pub mode: u8,
    pub fallback: u8,
    pub denies: u8,
    pub candidate_denies: u8,
    pub tables: u8,
    pub candidate_tables: u8,
}

impl State {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = self.id.to_ne_bytes().to_vec();
        for word in [self.generation, self.live, self.candidate] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([self.mode, self.fallback, self.denies, self.candidate_denies]);
        bytes.extend([self.tables, self.candidate_tables, 0, 0, 0, 0, 0, 0]);
        bytes
    }
}

pub(crate) const fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::Out => 0,
        Direction::In => 1,
        Direction::Bind => 2,
    }
}

pub(crate) fn flow(flow: &Flow) -> Vec<u8> {
    let mut bytes = flow.address.to_be_bytes().to_vec();
    bytes.extend(flow.port.to_be_bytes());
    bytes.extend([flow.protocol, direction(flow.direction)]);
    bytes
}

pub(crate) fn block(block: Network) -> Vec<u8> {
    let mut bytes = u32::from(block.bits).to_ne_bytes().to_vec();
    bytes.extend(block.address.to_be_bytes());
    bytes
}

pub(crate) fn port_block(row: &PortBlock) -> Vec<u8> {
    let mut bytes = (32 + row.bits).to_ne_bytes().to_vec();
    bytes.extend(row.class.to_ne_bytes());
    bytes.extend([direction(row.direction), row.protocol]);
    bytes.extend(row.port.to_be_bytes());
    bytes
}

pub(crate) fn answer(answer: Answer) -> Vec<u8> {
    let deny = u32::from(answer.verdict == Verdict::Deny);
    [answer.rule.to_ne_bytes(), deny.to_ne_bytes()].concat()
}

/// The types of the storage of sockets, in the kernel's type format (BTF), which has to know where the lock is: an
/// integer, `struct bpf_spin_lock`, and a struct that begins with one.
pub(crate) fn socket_types() -> Vec<u8> {
    const INTEGER: u32 = 1 << 24;
    const STRUCT_OF_ONE: u32 = (4 << 24) | 1;
    let strings = b"\0u32\0bpf_spin_lock\0val\0socket\0lock\0";
    let types: [u32; 16] = [
        1,
        INTEGER,
        4,
        32, // 1: u32
        5,
        STRUCT_OF_ONE,
        4,
        19,
        1,
        0, // 2: bpf_spin_lock { val: u32 }
        23,
        STRUCT_OF_ONE,
        SOCKET_SIZE,
        30,
        2,
        0, // 3: socket { lock: bpf_spin_lock, … }
    ];
    const TYPES: u32 = 16 * 4;
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    for word in [24, 0, TYPES, TYPES, u32::try_from(strings.len()).unwrap_or_default()] {
        bytes.extend(u32::to_ne_bytes(word));
    }
    bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend(strings);
    bytes
}

/// What a program reports: a new flow, or a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the boot of the kernel's monotonic clock.
    pub at_ns: u64,
    pub workload: u64,
    /// The kernel's number of the socket; 0 for one that was refused.
    pub socket: u64,
    pub generation: u32,
    /// The place of the rule in its policy.
    pub rule: Option<u32>,
    pub address: IpAddr,
    pub port: u16,
    pub local_port: u16,
    pub protocol: u8,
    pub direction: Direction,
    pub hook: Hook,
    /// What the policy decides. In monitor mode the flow goes on all the same.
    pub verdict: Verdict,
    pub reason: Reason,
    pub enforced: bool,
    /// The candidate policy decides otherwise, by this rule or its default.
    pub candidate_differs: bool,
    pub candidate_rule: Option<u32>,
}

/// Where a program is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Connect4,
    Connect6,
    Sendmsg4,
    Sendmsg6,
    Bind4,
    Bind6,
    SockCreate,
    Ingress,
    Egress,
}

/// Why the verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Rule,
    Default,
    /// Not a TCP, UDP or echo socket: its packets could not be judged.
    KindOfSocket,
    /// A packet with IP options or a routing header may go elsewhere.
    SourceRoute,
    /// A packet that the program cannot read.
    Unreadable,
    /// The tables of the policy are absent.
    NoPolicy,
    /// The agent has been silent for longer than the lease.
    Lease,
}

impl Event {
    pub(crate) const SIZE: usize = 64;

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.get(..Self::SIZE)?.try_into().ok()?;
        let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u16_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let byte = |at: usize| bytes.get(at).copied();
        let rule_at = |at: usize| Some(Some(u32_at(at)?).filter(|rule| *rule != NO_RULE));
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(32..48)?).ok()?);
        Some(Self {
            at_ns: u64_at(0)?,
            workload: u64_at(8)?,
            socket: u64_at(16)?,
            generation: u32_at(24)?,
            rule: rule_at(28)?,
            address: address.to_canonical(),
            port: u16_at(48)?,
            local_port: u16_at(50)?,
            protocol: byte(52)?,
            direction: [Direction::Out, Direction::In, Direction::Bind].get(usize::from(byte(53)?)).copied()?,
            hook: HOOKS.get(usize::from(byte(54)?)).copied()?,
            verdict: if byte(55)? == 0 { Verdict::Allow } else { Verdict::Deny },
            reason: REASONS.get(usize::from(byte(56)?)).copied()?,
            enforced: byte(57)? == 2,
            candidate_differs: byte(58)? != 0,
            candidate_rule: rule_at(60)?,
        })
    }
}

impl Reason {
    pub const fn about(self) -> &'static str {
        match self {
            Self::Rule => "a rule denies it",
            Self::Default => "no rule allows it",
            Self::KindOfSocket => "its packets could not be judged",
            Self::SourceRoute => "it may go elsewhere than its address says",
            Self::Unreadable => "the packet cannot be read",
            Self::NoPolicy => "no policy is loaded",
            Self::Lease => "the lease has run out",
        }
    }
}

impl Hook {
    /// The name of its program, as the kernel lists it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
            Self::SockCreate => "sock_create",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

const HOOKS: [Hook; 9] = [
    Hook::Connect4,
    Hook::Connect6,
    Hook::Sendmsg4,
    Hook::Sendmsg6,
    Hook::Bind4,
    Hook::Bind6,
    Hook::SockCreate,
    Hook::Ingress,
    Hook::Egress,
];

const REASONS: [Reason; 7] = [
    Reason::Rule,
    Reason::Default,
    Reason::KindOfSocket,
    Reason::SourceRoute,
    Reason::Unreadable,
    Reason::NoPolicy,
    Reason::Lease,
];
