//! The gRPC services: requests become calls of the executor, replies become messages. Who may call what: `roles.rs`.

mod admission;
mod agent;
mod bundle;
mod checked_body;
mod entry;
mod entry_mask;
mod entry_sync;
mod node;
pub(crate) mod show_state;
mod status;
mod streams;
mod svid;

use axum::Router;
use sekisho_proto::{server as own, spire};
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

use self::admission::admit_to_method;
use crate::admission::LONGEST;
use crate::domain::Shared;

/// All services of the server.
pub(crate) fn routes<H: Health>(
    domain: &Shared,
    health: HealthServer<H>,
) -> Result<Router, tonic_reflection::server::Error> {
    let agent = spire::agent::v1::agent_server::AgentServer::new(agent::Service);
    let bundle = spire::bundle::v1::bundle_server::BundleServer::new(bundle::Service);
    let entry = spire::entry::v1::entry_server::EntryServer::new(entry::Service);
    let svid = spire::svid::v1::svid_server::SvidServer::new(svid::Service);
    let node = own::node_server::NodeServer::new(node::Service);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sekisho_proto::FILE_DESCRIPTORS)
        .build_v1()?;
    let mut routes = Routes::builder();
    routes
        .add_service(agent.max_decoding_message_size(LONGEST))
        .add_service(bundle.max_decoding_message_size(LONGEST))
        .add_service(entry.max_decoding_message_size(LONGEST))
        .add_service(svid.max_decoding_message_size(LONGEST))
        .add_service(node.max_decoding_message_size(LONGEST))
        .add_service(health)
        .add_service(reflection);
    let router = routes.routes().into_axum_router();
    Ok(router.layer(axum::middleware::from_fn_with_state(domain.clone(), admit_to_method)))
}
