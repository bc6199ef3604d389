use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sekisho_ports::{TcpStream, UnixStream};
use sekisho_types::UnixTime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::material::handshake_reason;
use crate::peer::Exported;
use crate::{ExpectedServer, NetError, TlsPeer, TlsSource};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// With a key in a TPM, which may be busy.
const SLOW_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Dials one server over TLS, with the SVID and the bundle in force at that moment.
#[derive(Clone)]
pub struct Dialer {
    pub source: TlsSource,
    /// `host:port`.
    pub address: String,
    pub expected: ExpectedServer,
    pub clock: fn() -> UnixTime,
}

/// An open connection and who is at its other end.
pub struct TlsConnection {
    pub stream: TlsStream<TcpStream>,
    pub peer: TlsPeer,
}

impl Dialer {
    /// A key that is slow to sign gets a thread of its own, and more time.
    async fn shaking_hands<T: Send + 'static>(
        &self,
        handshake: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NetError> {
        let timeout = |_| NetError::Timeout(self.address.clone());
        if !self.source.current().is_slow {
            return tokio::time::timeout(CONNECT_TIMEOUT, handshake).await.map_err(timeout);
        }
        let apart = tokio::time::timeout(SLOW_HANDSHAKE_TIMEOUT, sekisho_ports::apart(handshake));
        let stopped = |error| NetError::Io { address: self.address.clone(), source: std::io::Error::other(error) };
        apart.await.map_err(timeout)?.map_err(stopped)
    }

    /// The longest time that a connection may take.
    fn longest(&self) -> Duration {
        if self.source.current().is_slow { CONNECT_TIMEOUT + SLOW_HANDSHAKE_TIMEOUT } else { CONNECT_TIMEOUT }
    }

    pub async fn connect(&self, alpn: &[&[u8]]) -> Result<TlsConnection, NetError> {
        let address = &self.address;
        let io = |source| NetError::Io { address: address.clone(), source };
        let timeout = |_| NetError::Timeout(address.clone());
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect_to(address))
            .await
            .map_err(timeout)?
            .map_err(io)?;
        let _best_effort = tcp.set_nodelay(true);
        let peer_address = tcp.peer_addr().map_err(io)?;
        let connector = TlsConnector::from(self.source.client_config(&self.expected, alpn)?);
        // The server is known by its SPIFFE ID, whatever name it is asked for; of an address nothing is sent.
        let address_only = || ServerName::IpAddress(peer_address.ip().into());
        let name = self.expected.asked_name().map_or_else(address_only, ServerName::DnsName);
        let handshake = self.shaking_hands(connector.connect(name, tcp)).await?;
        let stream =
            handshake.map_err(|error| match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                true => NetError::Handshake { address: address.clone(), reason: handshake_reason(&error) },
                // It closed the connection, which does not judge its identity.
                false => io(error),
            })?;
        let state = stream.get_ref().1;
        let exported = Exported::of(state)?;
        let peer = match &self.expected {
            ExpectedServer::Id(_) => {
                TlsPeer::of(peer_address, state, exported, self.source.current().bundle(), (self.clock)())?
            }
            // The fingerprint was checked in the handshake; there is no bundle yet to read the leaf by.
            ExpectedServer::Fingerprint { .. } => TlsPeer {
                address: peer_address,
                leaf: None,
                group: String::new(),
                exporter: exported.evidence,
                renewal: exported.renewal,
                protocol: state.alpn_protocol().unwrap_or_default().to_vec(),
            },
        };
        Ok(TlsConnection { stream, peer })
    }
}

/// A gRPC channel over TLS. It connects on first use and again after a failure.
pub fn grpc_over_tls(dialer: Dialer) -> Channel {
    endpoint(dialer.longest()).connect_with_connector_lazy(service_fn(move |_: Uri| {
        let dialer = dialer.clone();
        async move { dialer.connect(&[b"h2"]).await.map(|connection| TokioIo::new(connection.stream)) }
    }))
}

/// A gRPC channel over one TLS connection, and who is at its other end. It never connects again, so what is bound to
/// the connection stays on it.
pub async fn grpc_over_one(dialer: &Dialer) -> Result<(Channel, TlsPeer), NetError> {
    let TlsConnection { stream, peer } = dialer.connect(&[b"h2"]).await?;
    let (mut once, address) = (Some(TokioIo::new(stream)), dialer.address.clone());
    let ended = move || NetError::Io { address: address.clone(), source: std::io::ErrorKind::NotConnected.into() };
    let connector = service_fn(move |_: Uri| std::future::ready(once.take().ok_or_else(&ended)));
    Ok((endpoint(CONNECT_TIMEOUT).connect_with_connector_lazy(connector), peer))
}

/// A gRPC channel over a Unix socket.
pub fn grpc_over_unix(path: PathBuf) -> Channel {
    endpoint(CONNECT_TIMEOUT).connect_with_connector_lazy(service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(&path).await.map(TokioIo::new) }
    }))
}

fn endpoint(connect_timeout: Duration) -> Endpoint {
    Endpoint::from_static("http://sekisho.invalid")
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
}
