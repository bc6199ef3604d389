//! An identity for a service in Rust: it comes from the local Sekisho agent (or any other that serves the SPIFFE
//! Workload API), rotates by itself, and no secret is configured.
//!
//! Two variables say where it comes from: `SPIFFE_ENDPOINT_SOCKET` names the agent's socket and `SEKISHO_TRUST_DOMAIN`
//! the trust domain. The rest is in the service: which peers it admits, and which server it expects, both by SPIFFE ID.
//!
//! ```no_run
//! use sekisho_sdk::{IdentitySource, SpiffeId};
//!
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = IdentitySource::from_env()?;
//! println!("this is {}", identity.ready().await.spiffe_id);
//!
//! // A server: one client is admitted, and each connection says who it is.
//! let client = SpiffeId::parse("spiffe://example.org/shop/till")?;
//! let mut listener =
//!     identity.listen("127.0.0.1:8443".parse()?, &[b"h2", b"http/1.1"], move |peer| *peer == client).await?;
//! let connection = listener.accept().await;
//! println!("{} connects", connection.peer());
//!
//! // A client: the server has this SPIFFE ID, whatever its host is called.
//! let server = SpiffeId::parse("spiffe://example.org/shop/ledger")?;
//! let stream = identity.connector(server, &[b"http/1.1"]).connect("ledger.internal:8443").await?;
//! # Ok(())
//! # }
//! ```
//!
//! - **hyper**: [`Listener::accept`], and a `hyper_util` client in [`IdentitySource::rotating`].
//! - **axum**: [`Listener`] is an `axum::serve::Listener`; handlers take `ConnectInfo<Peer>`.
//! - **tonic**: [`Listener`] is a stream for `serve_with_incoming`, [`IdentitySource::grpc`] is the channel.
//! - **rustls**: [`TlsSource::rustls_server`] and [`TlsSource::rustls_client`] give configurations of rustls 0.23 that
//!   take the SVID in force at each handshake.
//!
//! The crate's examples show each of them whole.
//!
//! # What holds
//!
//! Without an identity nothing is accepted and nothing is dialled. A [`Connection`] is closed when the first of its two
//! SVIDs expires and when its peer is revoked. [`Rotating`] moves a client to new connections before that, so requests
//! go on. An agent that cannot be reached takes nothing away until the SVID expires.

#![warn(missing_docs)]

mod agent;
mod agent_key;
mod connection;
mod connector;
mod environment;
mod lifetime;
mod listener;
mod peer;
mod revocations;
mod rotating;
mod source;

pub use agent::{AgentChannel, Header, agent_channel, with_header};
pub use connection::Connection;
pub use connector::Connector;
pub use environment::StartError;
pub use listener::Listener;
pub use peer::Peer;
pub use revocations::{RevocationKeeper, follow_revocations};
pub use rotating::Rotating;
pub use sekisho_identity::LeafFacts;
pub use sekisho_net::{NetError, TlsSource};
pub use sekisho_types::{SpiffeId, TrustDomain, UnixTime};
pub use source::{CurrentIdentity, IdentitySource, Workload};

/// The example of the README is compiled too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
