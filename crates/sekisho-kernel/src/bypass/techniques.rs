//! What an attacker inside a workload tries to reach a peer that its rules deny.

use std::io;

use super::attempt::{Attempt, Held};
use super::{by_call, by_packet, by_ring, by_socket};

/// When the first step happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// In another cgroup, before the process joins.
    Outside,
    /// In the cgroup, before its rules.
    BeforeRules,
}

/// What the parent brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    None,
    /// A connection that was opened outside, passed by a Unix socket.
    Connection,
    /// A process outside that forwards what it gets on a Unix socket.
    Relay,
}

type Step<T> = fn(&mut Held) -> io::Result<T>;

pub(super) struct Technique {
    pub name: &'static str,
    pub about: &'static str,
    pub prepare: Option<(When, Step<()>)>,
    pub helper: Helper,
    pub attempt: fn(&mut Held, &[u8]) -> io::Result<Attempt>,
    /// It cannot work without rules either: it shows that what is advised closes another way.
    pub is_advice: bool,
    /// Why no rule of the network can block it, and what closes it.
    pub beyond: Option<&'static str>,
}

const fn technique(
    name: &'static str,
    about: &'static str,
    attempt: fn(&mut Held, &[u8]) -> io::Result<Attempt>,
) -> Technique {
    Technique { name, about, prepare: None, helper: Helper::None, attempt, is_advice: false, beyond: None }
}

impl Technique {
    const fn after(self, when: When, step: Step<()>) -> Self {
        Self { prepare: Some((when, step)), ..self }
    }

    const fn beyond(self, why: &'static str) -> Self {
        Self { beyond: Some(why), ..self }
    }

    const fn advised(self) -> Self {
        Self { is_advice: true, ..self }
    }

    const fn with(self, helper: Helper) -> Self {
        Self { helper, ..self }
    }
}

const PACKET_SOCKETS: &str = "cgroup programs do not see packet sockets: start workloads without CAP_NET_RAW";
const FOREIGN_SOCKETS: &str = "a socket belongs to the cgroup in which it was made: start workloads inside their \
                               cgroup, and pass them no sockets";
const RELAYS: &str =
    "a Unix socket is not a network: rules of files, or a mount namespace, decide which ones a workload can open";
const LEAVING: &str = "a process that may write cgroup.procs elsewhere can leave: start workloads without root, or \
                       with a read-only file system of cgroups";

pub(super) fn named(name: &str) -> Option<&'static Technique> {
    TECHNIQUES.iter().chain([&CONTROL]).find(|technique| technique.name == name)
}

/// Without it, nothing that is blocked says anything.
pub(super) static CONTROL: Technique = technique("control", "a connection that the rules allow", by_call::allowed);

pub(super) static TECHNIQUES: [Technique; 42] = [
    technique("tcp4", "TCP connect to an IPv4 address", by_call::tcp4),
    technique("tcp6", "TCP connect to an IPv6 address", by_call::tcp6),
    technique("tcp6-mapped", "TCP connect by IPv6 to ::ffff:127.0.0.1", by_call::tcp_mapped),
    technique("tcp6-zone", "TCP connect to a link-local address with a zone", by_call::tcp_zone),
    technique("tcp4-any", "TCP connect to 0.0.0.0, which means this machine", by_call::tcp4_any),
    technique("tcp6-any", "TCP connect to ::, which means this machine", by_call::tcp6_any),
    technique("tcp-fastopen", "data in the first packet of TCP, by MSG_FASTOPEN", by_call::fast_open),
    technique("tcp-fastopen-connect", "the same by TCP_FASTOPEN_CONNECT", by_call::fast_open_connect),
    technique("mptcp", "Multipath TCP connect", by_call::mptcp),
    technique("tcp-io-uring", "TCP connect by io_uring, without a call of that name", by_ring::connect),
    technique("tcp-device", "TCP connect bound to an interface", by_call::tcp_device),
    technique(
        "tcp-again",
        "a connection to an allowed peer, undone by AF_UNSPEC and made to a denied one",
        by_call::tcp_again,
    ),
    technique("tcp-listener", "a listening socket, undone by AF_UNSPEC, then connected", by_call::tcp_listener),
    technique("udp-connected4", "UDP connect and send, IPv4", by_call::udp_connected4),
    technique("udp-connected6", "UDP connect and send, IPv6", by_call::udp_connected6),
    technique("udp-sendto4", "UDP sendto, IPv4", by_call::udp_sendto4),
    technique("udp-sendto6", "UDP sendto, IPv6", by_call::udp_sendto6),
    technique("udp-sendmsg4", "UDP sendmsg, IPv4", by_call::udp_sendmsg4),
    technique("udp-mapped", "UDP sendto by IPv6 to ::ffff:127.0.0.1", by_call::udp_mapped),
    technique("udp6-to-4", "an IPv4 address on a socket of IPv6", by_call::udp6_to_4),
    technique("udp-unspec-family", "UDP sendto with AF_UNSPEC in the address", by_call::udp_unspec_family),
    technique(
        "udp-again",
        "connected to an allowed peer, undone by AF_UNSPEC, connected to a denied one",
        by_call::udp_again,
    ),
    technique("udp-other-peer", "connected to an allowed peer, sendto a denied one", by_call::udp_other_peer),
    technique("udp-sendmmsg", "sendmmsg to an allowed and a denied peer at once", by_call::udp_sendmmsg),
    technique("ping", "an echo request by a socket for echo", by_packet::ping),
    technique("source-route", "an IPv4 packet that visits another host by an option", by_packet::source_route),
    technique(
        "routing-header",
        "an IPv6 packet that visits another host by a routing header",
        by_packet::routing_header,
    ),
    technique("raw4", "a raw socket with a packet made by hand, IPv4", by_packet::raw4),
    technique("raw6", "a raw socket with a UDP header made by hand, IPv6", by_packet::raw6),
    technique("udplite", "UDP-Lite, a protocol that no rule knows", by_packet::udplite),
    technique("sctp", "SCTP, a protocol that no rule knows", by_packet::sctp),
    technique("bind", "bind to a denied port", by_socket::bind4),
    technique("bind-any6", "bind to a denied port of ::, which takes IPv4 as well", by_socket::bind_any6),
    technique("older-tcp", "a TCP connection that was open before the rules", by_socket::write)
        .after(When::BeforeRules, by_socket::connect_tcp),
    technique("older-udp", "a UDP socket that was connected before the rules", by_socket::write)
        .after(When::BeforeRules, by_socket::connect_udp),
    technique("child-cgroup", "a cgroup that the workload makes inside its own", by_socket::child_cgroup),
    technique("packet", "a packet socket, below IP", by_packet::packet).beyond(PACKET_SOCKETS),
    technique("packet-unprivileged", "the same without CAP_NET_RAW", by_packet::packet_unprivileged).advised(),
    technique("leave-cgroup", "root moves its process into another cgroup", by_socket::leave_cgroup).beyond(LEAVING),
    technique("earlier-cgroup", "a socket made before the process joined the cgroup", by_socket::connect_and_write)
        .after(When::Outside, by_socket::make_tcp)
        .beyond(FOREIGN_SOCKETS),
    technique("passed-socket", "a connection made outside, passed by SCM_RIGHTS", by_socket::write_to_passed)
        .with(Helper::Connection)
        .beyond(FOREIGN_SOCKETS),
    technique("unix-relay", "a Unix socket to a process outside that forwards", by_socket::relay)
        .with(Helper::Relay)
        .beyond(RELAYS),
];
