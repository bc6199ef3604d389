use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use sekisho_net::{Dialer, ExpectedServer, NetError};
use sekisho_ports::now;
use sekisho_types::SpiffeId;
use tower::Service;

use crate::connection::Retirement;
use crate::lifetime::{Lifetime, retires};
use crate::{Connection, IdentitySource, Peer};

/// Connects by mTLS to a server with one SPIFFE ID. It is the connector of a client of hyper or tonic; the host and
/// port of the URI say where the server is. A pool of its connections has to be replaced at rotations: [`Rotating`]
/// does it.
///
/// [`Rotating`]: crate::Rotating
#[derive(Clone)]
pub struct Connector {
    identity: IdentitySource,
    server: SpiffeId,
    alpn: &'static [&'static [u8]],
    /// Whether one of its connections should get no further requests.
    pub(crate) retired: Arc<AtomicBool>,
}

impl IdentitySource {
    /// A connector to `server`. `alpn` names the protocols that the client speaks, `&[b"http/1.1"]` for example.
    pub fn connector(&self, server: SpiffeId, alpn: &'static [&'static [u8]]) -> Connector {
        Connector { identity: self.clone(), server, alpn, retired: Arc::default() }
    }
}

impl Connector {
    /// The same with a flag of its own.
    pub(crate) fn another(&self) -> Self {
        self.identity.connector(self.server.clone(), self.alpn)
    }

    /// Connects to `host:port`.
    pub async fn connect(&self, address: &str) -> Result<Connection, NetError> {
        let held = self.identity.held.borrow().clone().ok_or(NetError::NoIdentity)?;
        let (source, address) = (self.identity.tls.clone(), address.to_owned());
        let dialer = Dialer { source, address, expected: ExpectedServer::Id(self.server.clone()), clock: now };
        let dialled = dialer.connect(self.alpn).await?;
        let peer = Peer::of(dialled.peer)?;
        let lifetime = Lifetime::new(&peer, held.not_after, self.identity.revocations.clone());
        let due = Box::pin(retires(peer.clone(), held.generation, self.identity.held.clone()));
        let retirement = Retirement { due, flag: self.retired.clone() };
        Ok(Connection::new(dialled.stream.into(), peer, lifetime, Some(retirement)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NetError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        let port = uri.port_u16().unwrap_or(443);
        let address = format!("{}:{port}", uri.host().unwrap_or_default());
        Box::pin(async move { connector.connect(&address).await.map(TokioIo::new) })
    }
}
