//! The server's side of TLS handshakes.

use std::net::SocketAddr;
use std::time::Duration;

use sekisho_ports::{TcpStream, apart, instant};
use sekisho_types::UnixTime;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsAcceptor};

use crate::peer::Exported;
use crate::trust::SiteSelection;
use crate::{NetError, TlsPeer, TlsSource};

/// A peer that has not finished its handshake by then is let go.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// So much longer if our key is in a TPM, which may be busy.
const SLOW_KEY: Duration = Duration::from_secs(15);

/// A TLS server's side: made once, used for each connection.
#[derive(Clone)]
pub struct Acceptor {
    source: TlsSource,
    tls: TlsAcceptor,
    /// For clients that ask for this protocol.
    beside: Option<(&'static [u8], TlsAcceptor)>,
}

impl Acceptor {
    /// Asks for a client certificate, which must come if `client_required`. SVID and bundle are those in force when a
    /// connection comes.
    pub fn new(source: &TlsSource, client_required: bool, alpn: &[&[u8]]) -> Result<Self, NetError> {
        let tls = TlsAcceptor::from(source.server_config(client_required, alpn, SiteSelection::Alone)?);
        Ok(Self { source: source.clone(), tls, beside: None })
    }

    /// That of one site of a listener.
    pub(crate) fn of_site(source: &TlsSource, asked: SiteSelection) -> Result<Self, NetError> {
        let tls = TlsAcceptor::from(source.server_config(false, &[b"h2", b"http/1.1"], asked)?);
        Ok(Self { source: source.clone(), tls, beside: None })
    }

    #[cfg(test)]
    pub(crate) fn trust_domain(&self) -> sekisho_types::TrustDomain {
        self.source.current().bundle().trust_domain.clone()
    }

    /// Serves a second protocol on the same port. A client that does not ask for it is served as without.
    pub fn with_protocol(mut self, protocol: &'static [u8]) -> Result<Self, NetError> {
        self.beside =
            Some((protocol, TlsAcceptor::from(self.source.server_config(true, &[protocol], SiteSelection::Alone)?)));
        Ok(self)
    }

    async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let Some((protocol, beside)) = &self.beside else { return self.tls.accept(stream).await };
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let asked = start.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == *protocol));
        let config = if asked { beside.config() } else { self.tls.config() };
        start.into_stream(config.clone()).await
    }

    /// Takes one connection through its handshake, and says who the peer is.
    pub async fn accept(
        &self,
        stream: impl Into<TcpStream>,
        now: UnixTime,
    ) -> Result<(TlsStream<TcpStream>, TlsPeer), NetError> {
        let stream = stream.into();
        let address = stream.peer_addr().map_err(|source| NetError::Io { address: "peer".into(), source })?;
        let _best_effort = stream.set_nodelay(true);
        let own = self.clone();
        let handshake = async move { own.handshake(stream).await };
        self.finish(handshake, address, instant() + HANDSHAKE_TIMEOUT, now).await
    }

    /// Answers a client whose hello was read.
    pub(crate) async fn answer(
        &self,
        hello: StartHandshake<TcpStream>,
        address: SocketAddr,
        until: Instant,
        now: UnixTime,
    ) -> Result<(TlsStream<TcpStream>, TlsPeer), NetError> {
        let config = self.tls.config().clone();
        // Its first step signs.
        self.finish(async move { hello.into_stream(config).await }, address, until, now).await
    }

    async fn finish(
        &self,
        handshake: impl Future<Output = std::io::Result<TlsStream<TcpStream>>> + Send + 'static,
        address: SocketAddr,
        until: Instant,
        now: UnixTime,
    ) -> Result<(TlsStream<TcpStream>, TlsPeer), NetError> {
        let ended = if self.source.current().is_slow {
            let apart = tokio::time::timeout_at(until + SLOW_KEY, apart(handshake)).await;
            apart.map(|ended| ended.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))))
        } else {
            tokio::time::timeout_at(until, handshake).await
        };
        let ended = ended.map_err(|_| NetError::Timeout(address.to_string()))?;
        let stream = ended.map_err(|error| NetError::handshake(address, &error))?;
        let state = stream.get_ref().1;
        let peer = TlsPeer::of(address, state, Exported::of(state)?, self.source.current().bundle(), now)?;
        Ok((stream, peer))
    }
}
