use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustls::{CommonState, ConnectionCommon};
use sekisho_identity::{Bundle, LeafFacts};
use sekisho_types::{UnixTime, Verified};

use crate::NetError;
use crate::verified::verify;

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
    /// The same for another purpose: it names this connection to its other end, on a later one.
    pub renewal: [u8; 32],
    /// The protocol that was negotiated (ALPN, RFC 7301); empty without one.
    pub protocol: Vec<u8>,
}

impl TlsPeer {
    pub(crate) fn of(
        address: SocketAddr,
        state: &CommonState,
        exported: Exported,
        bundle: &Arc<Bundle>,
        now: UnixTime,
    ) -> Result<Self, NetError> {
        let chain: Vec<Vec<u8>> = state.peer_certificates().unwrap_or_default().iter().map(|c| c.to_vec()).collect();
        // The handshake checked it by the same rules; what it says is read from what is verified here.
        let leaf = if chain.is_empty() { None } else { Some(verify(&chain, bundle, now)?) };
        let group = state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        let protocol = state.alpn_protocol().unwrap_or_default().to_vec();
        let Exported { evidence: exporter, renewal } = exported;
        Ok(Self { address, leaf, group: group.unwrap_or_default(), exporter, renewal, protocol })
    }
}

/// What is exported from a connection, by purpose.
pub(crate) struct Exported {
    pub evidence: [u8; 32],
    pub renewal: [u8; 32],
}

impl Exported {
    pub(crate) fn of<D>(connection: &ConnectionCommon<D>) -> Result<Self, NetError> {
        let export = |label: &[u8]| connection.export_keying_material([0u8; 32], label, None);
        Ok(Self { evidence: export(b"EXPORTER-sekisho-evidence")?, renewal: export(b"EXPORTER-sekisho-renewal")? })
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
    /// Our end of the connection: its inode, and its cookie, which no other socket ever has (SO_COOKIE).
    pub socket: (u64, u64),
}
