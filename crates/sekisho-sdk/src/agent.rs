use std::path::Path;

use sekisho_net::grpc_over_unix;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Adds the metadata that the Workload Endpoint asks for.
#[derive(Clone, Copy)]
pub struct Header;

impl Interceptor for Header {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        Ok(with_header(request))
    }
}

/// A channel to the agent's socket whose calls carry the header.
pub type AgentChannel = InterceptedService<Channel, Header>;

/// A channel to the agent at `socket`. It connects on first use, and again after a failure.
pub fn agent_channel(socket: &Path) -> AgentChannel {
    InterceptedService::new(grpc_over_unix(socket.to_owned()), Header)
}

/// `request` with `workload.spiffe.io: true`.
pub fn with_header<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
