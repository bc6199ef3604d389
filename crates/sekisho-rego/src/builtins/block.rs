//! Blocks of addresses. An IPv6 address that maps one of IPv4 counts as that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first address of the block that holds the mapped addresses of IPv4.
pub(super) const MAPPED: u128 = 0xffff_0000_0000;

/// A block of addresses: its first address, and its prefix among 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(crate) first: u128,
    pub(crate) prefix: u32,
}

impl Block {
    pub(crate) fn parse(text: &str) -> Option<Block> {
        let (ip, prefix) = text.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        if prefix.is_empty() || prefix.len() > 9 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let prefix: u32 = prefix.parse().ok()?;
        let prefix = match ip {
            IpAddr::V4(_) => prefix.checked_add(96)?,
            IpAddr::V6(_) => prefix,
        };
        (prefix <= 128).then(|| Block { first: bits(ip) & mask(prefix), prefix })
    }

    pub(super) fn is_v4(self) -> bool {
        is_v4(self.first) && self.prefix >= 96
    }

    pub(super) fn last(self) -> u128 {
        self.first | !mask(self.prefix)
    }

    /// Whether an address is in the block, by its bits alone.
    pub(crate) fn has(self, bits: u128) -> bool {
        bits & mask(self.prefix) == self.first
    }

    /// Whether an address of the same version of IP is in the block.
    pub(crate) fn contains(self, bits: u128) -> bool {
        self.is_v4() == is_v4(bits) && self.has(bits)
    }

    pub(super) fn text(self) -> String {
        let prefix = if self.is_v4() { self.prefix - 96 } else { self.prefix };
        format!("{}/{prefix}", address(self.first))
    }
}

/// The bits of an address; IPv4 in the mapped block of IPv6.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => MAPPED | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

pub(super) fn address(bits: u128) -> IpAddr {
    match u32::try_from(bits ^ MAPPED) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

pub(super) fn is_v4(bits: u128) -> bool {
    u32::try_from(bits ^ MAPPED).is_ok()
}

pub(super) fn mask(prefix: u32) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix) }
}
