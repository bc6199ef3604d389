use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use sekisho_net::{Acceptor, NetError, Refuse, Slots, TlsSource, accept_each, network_of};
use sekisho_ports::{TcpListener, TcpStream, now};
use sekisho_types::SpiffeId;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lifetime::Lifetime;
use crate::{Connection, IdentitySource, Peer};

/// Handshakes at a time: all, and from one address.
const HANDSHAKES: (usize, usize) = (1024, 256);

/// Where peers connect by mTLS. A stream of connections for tonic, a listener for axum, and [`Listener::accept`] for
/// everything else.
pub struct Listener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Connection>,
    _accepts: DropGuard,
}

impl IdentitySource {
    /// TLS as in [`IdentitySource::tls`], which also refuses each peer that `may` does not admit.
    pub fn admitting(&self, may: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static) -> TlsSource {
        let keeper = self.revocations.clone();
        self.tls.clone().refusing(Refuse::new(move |leaf| {
            let id = &leaf.spiffe_id;
            let refused = || (!may(id)).then(|| format!("`{id}` is not admitted here"));
            keeper.as_ref().and_then(|keeper| keeper.find(leaf)).or_else(refused)
        }))
    }

    /// Listens for peers that `may` admits. `alpn` names the protocols of the service, `h2` for gRPC.
    pub async fn listen(
        &self,
        address: SocketAddr,
        alpn: &[&[u8]],
        may: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static,
    ) -> Result<Listener, NetError> {
        let acceptor = Acceptor::new(&self.admitting(may), true, alpn)?;
        let io = |source| NetError::Io { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let (send, accepted) = mpsc::channel(1);
        let (stop, source) = (CancellationToken::new(), self.clone());
        let guard = stop.clone().drop_guard();
        tokio::spawn(async move {
            let slots = Slots::<IpAddr>::new(HANDSHAKES.0, HANDSHAKES.1);
            accept_each(&listener, &stop, |(stream, from)| {
                let Some(slot) = slots.take(network_of(from.ip())) else { return };
                let (source, acceptor, send) = (source.clone(), acceptor.clone(), send.clone());
                tokio::spawn(async move {
                    match source.accept(&acceptor, stream).await {
                        // The service listens no more.
                        Ok(connection) => drop(send.send(connection).await),
                        Err(error) => tracing::warn!(%from, %error, "a connection was refused"),
                    }
                    drop(slot);
                });
            })
            .await;
        });
        Ok(Listener { address, accepted, _accepts: guard })
    }

    async fn accept(&self, acceptor: &Acceptor, stream: TcpStream) -> Result<Connection, NetError> {
        let own = self.held.borrow().as_ref().map(|held| held.not_after).ok_or(NetError::NoIdentity)?;
        let (stream, peer) = acceptor.accept(stream, now()).await?;
        let peer = Peer::of(peer)?;
        let lifetime = Lifetime::new(&peer, own, self.revocations.clone());
        Ok(Connection::new(stream.into(), peer, lifetime, None))
    }
}

impl Listener {
    /// The address in use, with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Those whose handshake fails are logged and not returned.
    pub async fn accept(&mut self) -> Connection {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // The runtime stops.
            None => std::future::pending().await,
        }
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(ready!(self.accepted.poll_recv(context)).map(Ok))
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = Self::accept(self).await;
        let address = connection.peer().address;
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Handlers take it as `ConnectInfo<Peer>`.
impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().peer().clone()
    }
}
