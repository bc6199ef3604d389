//! Network rules of one workload, and what they decide. This is the whole meaning; `rows.rs` turns it into tables, and
//! the programs in `bpf/` look them up.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which end began the flow, or what a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The workload calls a peer: its address and port.
    Out,
    /// A peer calls the workload: the peer's address, the workload's port.
    In,
    /// The workload binds a socket: its own address and port.
    Bind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Every protocol; with ports, every one that has ports.
    Any,
    /// TCP, and MPTCP.
    Tcp,
    Udp,
    /// ICMP and ICMPv6; it has no ports.
    Icmp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Deny,
    Allow,
}

/// Ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    pub(crate) fn is_all(self) -> bool {
        self == Self::ALL
    }
}

/// A block of addresses, in the form of 128 bits that the kernel looks up: IPv4 is `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    pub(crate) address: u128,
    pub(crate) bits: u8,
}

/// The block of all mapped addresses.
pub(crate) const IPV4: Network = Network { address: 0xffff << 32, bits: 96 };

impl Network {
    /// The block of one address.
    pub fn host(address: IpAddr) -> Self {
        Self { address: one_form(address), bits: 128 }
    }

    pub(crate) const fn mask(bits: u8) -> u128 {
        if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
    }

    pub(crate) const fn holds(self, other: Self) -> bool {
        self.bits <= other.bits && (other.address & Self::mask(self.bits)) == self.address
    }

    pub(crate) const fn is_ipv4(self) -> bool {
        IPV4.holds(self)
    }

    /// Whether a rule for this block concerns the other: a block of IPv6 holds no IPv4, though its bits do.
    pub(crate) const fn concerns(self, other: Self) -> bool {
        self.holds(other) && self.is_ipv4() == other.is_ipv4()
    }
}

/// The one form of an address. A mapped one is IPv4 already.
pub(crate) fn one_form(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = |why| RuleError::Network { text: text.to_owned(), why };
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        if address.contains('%') {
            return Err(wrong("the kernel's programs see no zone; write the address without it"));
        }
        let address: IpAddr =
            address.parse().map_err(|_| wrong("expected an address, or a block such as 10.0.0.0/8"))?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.map_or(Ok(widest), str::parse).map_err(|_| wrong("the length is not a number"))?;
        if length > widest {
            return Err(wrong("the length is more than the address has bits"));
        }
        let network = Self { address: one_form(address), bits: 128 - widest + length };
        if network.address & !Self::mask(network.bits) != 0 {
            return Err(wrong("the address has bits outside the block; write the block's first address"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ipv4() {
            let low = u32::try_from(self.address & 0xffff_ffff).unwrap_or_default();
            write!(f, "{}/{}", Ipv4Addr::from_bits(low), self.bits - 96)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from_bits(self.address), self.bits)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    Any,
    Of(Network),
}

/// A rule. `id` is its name in receipts and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub direction: Direction,
    pub peers: Peers,
    pub protocol: Protocol,
    pub ports: Ports,
    pub verdict: Verdict,
}

/// What to do where no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub outward: Verdict,
    pub inward: Verdict,
    pub bind: Verdict,
}

impl Defaults {
    pub const DENY: Self = Self { outward: Verdict::Deny, inward: Verdict::Deny, bind: Verdict::Deny };

    pub(crate) const fn of(self, direction: Direction) -> Verdict {
        match direction {
            Direction::Out => self.outward,
            Direction::In => self.inward,
            Direction::Bind => self.bind,
        }
    }
}

/// The rules of one workload. A rule that denies takes precedence over one that allows; among those of one verdict, the
/// rule for the smaller block is named, then the earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    defaults: Defaults,
}

/// Why a rule cannot be enforced as it is written. It is the rule's author who can change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("`{text}` is not a block of addresses: {why}")]
    Network { text: String, why: &'static str },
    #[error("rule `{0}`: ICMP has no ports; leave them out")]
    IcmpPorts(String),
    #[error("rule `{0}`: its first port is above its last")]
    NoPorts(String),
    #[error("rule `{0}`: a socket is bound for TCP or UDP; name one of them, or any protocol")]
    IcmpBind(String),
    #[error("two rules are named `{0}`; a receipt could not tell them apart")]
    TwoOfOneName(String),
}

/// How strongly a rule speaks: the least is heard.
pub(crate) type Rank = (Verdict, Reverse<i16>, u32);

impl Rule {
    pub(crate) fn rank(&self, index: u32) -> Rank {
        let bits = match self.peers {
            Peers::Any => -1,
            Peers::Of(network) => i16::from(network.bits),
        };
        (self.verdict, Reverse(bits), index)
    }

    /// Whether it concerns a whole block. Who denies an address of this machine denies it to a socket that takes all.
    pub(crate) fn concerns(&self, block: Network) -> bool {
        match self.peers {
            Peers::Any => true,
            Peers::Of(network) => {
                network.concerns(block)
                    || (self.denies_wildcards() && network.is_ipv4() == block.is_ipv4() && is_wildcard(block))
            }
        }
    }

    pub(crate) fn denies_wildcards(&self) -> bool {
        self.direction == Direction::Bind && self.verdict == Verdict::Deny
    }

    /// By number, as the kernel knows protocols.
    pub(crate) fn is_for(&self, protocol: u8, port: u16) -> bool {
        match self.protocol {
            Protocol::Any if self.ports.is_all() => true,
            Protocol::Any => matches!(protocol, TCP | UDP) && self.ports.contains(port),
            Protocol::Tcp => protocol == TCP && self.ports.contains(port),
            Protocol::Udp => protocol == UDP && self.ports.contains(port),
            Protocol::Icmp => protocol == ICMP,
        }
    }
}

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

pub(crate) const WILDCARDS: [Network; 2] =
    [Network { address: 0, bits: 128 }, Network { address: IPV4.address, bits: 128 }];

fn is_wildcard(block: Network) -> bool {
    WILDCARDS.contains(&block)
}

/// A call to the unspecified address reaches this machine.
fn called(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

impl Policy {
    pub fn new(rules: Vec<Rule>, defaults: Defaults) -> Result<Self, RuleError> {
        let mut names = std::collections::BTreeSet::new();
        for rule in &rules {
            let id = || rule.id.clone();
            if rule.ports.first > rule.ports.last {
                return Err(RuleError::NoPorts(id()));
            }
            if rule.protocol == Protocol::Icmp && !rule.ports.is_all() {
                return Err(RuleError::IcmpPorts(id()));
            }
            if rule.protocol == Protocol::Icmp && rule.direction == Direction::Bind {
                return Err(RuleError::IcmpBind(id()));
            }
            if !names.insert(rule.id.as_str()) {
                return Err(RuleError::TwoOfOneName(id()));
            }
        }
        Ok(Self { rules, defaults })
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub const fn defaults(&self) -> Defaults {
        self.defaults
    }

    /// What the rules decide, and by which of them. It tries every rule: the tables of the kernel are compared with it.
    pub fn decide(&self, direction: Direction, protocol: u8, address: IpAddr, port: u16) -> (Verdict, Option<&Rule>) {
        let block = Network::host(if direction == Direction::Out { called(address) } else { address });
        let matching = (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| rule.direction == direction && rule.is_for(protocol, port) && rule.concerns(block));
        let first = matching.min_by_key(|(index, rule)| rule.rank(*index));
        first.map_or((self.defaults.of(direction), None), |(_, rule)| (rule.verdict, Some(rule)))
    }
}
