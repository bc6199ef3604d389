//! Envoy's secret discovery service, version 3: the part of its API that the agent speaks.

pub use crate::wire::envoy::config::core::v3 as core;
pub use crate::wire::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use crate::wire::envoy::service::discovery::v3 as discovery;
pub use crate::wire::envoy::service::secret::v3 as secret;
pub use crate::wire::envoy::r#type::v3 as version;
pub use crate::wire::google::rpc;
