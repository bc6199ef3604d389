//! Listeners and dialers: TLS 1.3 with SVIDs on every hop, Unix sockets with the peer's credentials, and the
//! one place where a peer's bytes become a verified identity. The only crate that names rustls.
//!
//! No session is ever resumed (law L10), and X25519MLKEM768 is preferred. This crate holds no policy: it says
//! who the peer is, never what the peer may do.

mod accept;
mod addresses;
mod dial;
mod ending;
mod grpc_only;
mod joined_writes;
mod listen;
mod material;
mod metrics;
mod peer;
mod peer_credentials;
mod rates;
mod refused;
mod remote_key;
mod sites;
mod slots;
mod tally;
mod tls;
mod trust;
mod unix_authority;
mod unix_slots;
mod verified;
mod web;

pub use accept::Acceptor;
pub use addresses::{host_and_port, listen_address};
pub use dial::{Dialer, TlsConnection, grpc_over_one, grpc_over_tls, grpc_over_unix};
pub use grpc_only::{grpc_only, is_grpc, no_grpc};
pub use listen::{Listens, accept_each, listen_unix, serve_unix};
pub use material::{Identity, NetError, Refuse, TlsMaterial, TlsSource, certificates_from_pem, private_key_from_pem};
pub use metrics::{MetricsAddress, serve_metrics, serve_own_metrics};
pub use peer::{TlsPeer, UnixPeer};
pub use peer_credentials::peer_of;
pub use rates::Rates;
pub use refused::{broken_rule, is_permanent, is_unrecorded, on_record, unrecorded_refusal};
pub use sites::{OnRejectedPeer, Site, Sites, serve_tls};
pub use slots::{Slot, Slots, network_of};
pub use tally::{Tallied, Tally};
pub use tls::TlsStream;
pub use trust::ExpectedServer;
pub use unix_authority::rewrite_unix_authority;
pub use web::{WebAnswer, WebClient, WebPost, WebPrefix};
