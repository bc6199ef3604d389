use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use sekisho_types::SpiffeId;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::{Connector, IdentitySource};

/// A client with a pool of connections, which is replaced when one of their SVIDs rotates: new requests take
/// connections with the SVIDs in force, and open ones finish on theirs. It is a service of tower where the client is
/// one, as tonic's channel.
#[derive(Clone)]
pub struct Rotating<C> {
    shared: Arc<Shared<C>>,
    generation: u64,
    client: C,
}

struct Shared<C> {
    connector: Connector,
    make: Box<dyn Fn(Connector) -> C + Send + Sync>,
    current: Mutex<Current<C>>,
}

struct Current<C> {
    generation: u64,
    /// Its own, with a flag of its own.
    connector: Connector,
    client: C,
}

impl IdentitySource {
    /// A client of `server` that `make` builds, now and at each rotation. `alpn` names the protocols that it speaks.
    pub fn rotating<C: Clone>(
        &self,
        server: SpiffeId,
        alpn: &'static [&'static [u8]],
        make: impl Fn(Connector) -> C + Send + Sync + 'static,
    ) -> Rotating<C> {
        let connector = self.connector(server, alpn);
        let client = make(connector.clone());
        let current = Mutex::new(Current { generation: 0, connector: connector.clone(), client: client.clone() });
        Rotating { shared: Arc::new(Shared { connector, make: Box::new(make), current }), generation: 0, client }
    }

    /// A gRPC channel to `server`, for the clients that tonic generates. The endpoint's URI says where it is:
    /// `http://host:port`. It is TLS nevertheless.
    pub fn grpc(&self, endpoint: Endpoint, server: SpiffeId) -> Rotating<Channel> {
        self.rotating(server, &[b"h2"], move |connector| endpoint.connect_with_connector_lazy(connector))
    }
}

impl<C: Clone> Shared<C> {
    fn current(&self) -> MutexGuard<'_, Current<C>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.connector.retired.load(Ordering::Acquire) {
            let (generation, connector) = (current.generation + 1, self.connector.another());
            *current = Current { generation, client: (self.make)(connector.clone()), connector };
        }
        current
    }
}

impl<C: Clone> Rotating<C> {
    /// The client for the next request.
    pub fn current(&self) -> C {
        self.shared.current().client.clone()
    }
}

impl<C: Service<R> + Clone, R> Service<R> for Rotating<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        let current = self.shared.current();
        let renewed = (current.generation != self.generation).then(|| (current.generation, current.client.clone()));
        drop(current);
        if let Some((generation, client)) = renewed {
            (self.generation, self.client) = (generation, client);
        }
        self.client.poll_ready(context)
    }

    fn call(&mut self, request: R) -> C::Future {
        self.client.call(request)
    }
}
