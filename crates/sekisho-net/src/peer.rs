use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustls::CommonState;
use sekisho_identity::{Bundle, LeafFacts, verify_svid};
use sekisho_types::{UnixTime, Verified};

use crate::NetError;

/// The other end of a TLS connection.
#[derive(Debug)]
pub struct TlsPeer {
    pub address: SocketAddr,
    /// The peer's SVID; absent when it showed none.
    pub leaf: Option<Verified<LeafFacts>>,
    /// The key exchange group that was negotiated, for the log.
    pub group: String,
    /// Keying material of this connection (RFC 8446 §7.5), to bind evidence to it.
    pub exporter: [u8; 32],
}

impl TlsPeer {
    pub(crate) fn of(
        address: SocketAddr,
        state: &CommonState,
        exporter: [u8; 32],
        bundle: &Bundle,
        now: UnixTime,
    ) -> Result<Self, NetError> {
        let chain: Vec<Vec<u8>> = state.peer_certificates().unwrap_or_default().iter().map(|c| c.to_vec()).collect();
        // The handshake checked it by the same rules; what it says is read from what is verified here.
        let leaf = if chain.is_empty() { None } else { Some(verify_svid(&chain, bundle, now)?) };
        let group = state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        Ok(Self { address, leaf, group: group.unwrap_or_default(), exporter })
    }
}

/// The process at the other end of a Unix socket, as the kernel names it.
#[derive(Debug)]
pub struct UnixPeer {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
    /// From SO_PEERPIDFD; absent before Linux 6.5.
    pub pidfd: Option<OwnedFd>,
}
