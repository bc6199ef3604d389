//! How TLS is set up on both sides.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, CommonState, ServerConfig, version};

use sekisho_identity::LeafFacts;
use sekisho_types::{SpiffeId, Verified};

use crate::material::{NetError, TlsSource};
use crate::trust::{AnyClient, ExpectedServer, ServerCheck, SiteSelection};
use crate::verified::verify;

/// A TLS connection of either side.
pub type TlsStream = tokio_rustls::TlsStream<sekisho_ports::TcpStream>;

/// For a service that uses rustls itself. Each handshake takes the SVID and the bundle that are in force then, so one
/// configuration serves over all rotations.
impl TlsSource {
    /// A server that shows its SVID, and admits clients with an SVID of the trust domain only.
    pub fn rustls_server(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, NetError> {
        self.server_config(true, alpn, SiteSelection::Alone)
    }

    /// A client that shows its SVID, and accepts the server with exactly this SPIFFE ID. Host names play no part.
    pub fn rustls_client(&self, server: &SpiffeId, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, NetError> {
        self.client_config(&ExpectedServer::Id(server.clone()), alpn)
    }

    /// Who is at the other end of a connection of one of these configurations.
    pub fn peer(&self, connection: &CommonState) -> Result<Verified<LeafFacts>, NetError> {
        let chain = connection.peer_certificates().ok_or(NetError::NoPeer)?;
        let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
        Ok(verify(&chain, self.current().bundle(), sekisho_ports::now())?)
    }
}

impl TlsSource {
    /// For listeners. A client certificate is asked for and, if one comes, checked; whether one is needed is the
    /// handler's rule.
    pub(crate) fn server_config(
        &self,
        client_required: bool,
        alpn: &[&[u8]],
        asked: SiteSelection,
    ) -> Result<Arc<ServerConfig>, NetError> {
        let source = self.clone();
        let verifier = Arc::new(AnyClient { source, required: client_required, asked, provider: provider() });
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(PortClock))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// For dialers: our SVID if we have one, and a server that must be `expected`. What is asked for is asked for by
    /// name only if the dialer gives one.
    pub(crate) fn client_config(
        &self,
        expected: &ExpectedServer,
        alpn: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, NetError> {
        let check = ServerCheck { source: self.clone(), expected: expected.clone(), provider: provider() };
        let mut config = ClientConfig::builder_with_details(provider(), Arc::new(PortClock))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(check))
            .with_client_cert_resolver(Arc::new(OwnIdentity(self.clone())));
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// The machine's clock, for rustls.
#[derive(Debug)]
struct PortClock;

impl TimeProvider for PortClock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let seconds = u64::try_from(sekisho_ports::now().seconds()).ok()?;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

#[derive(Debug)]
struct Resolver(TlsSource);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().certified.clone()
    }
}

/// Shows our SVID, if we have one, to every server that asks: the server was verified before it can ask.
#[derive(Debug)]
struct OwnIdentity(TlsSource);

impl rustls::client::ResolvesClientCert for OwnIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.current().certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.current().certified.is_some()
    }
}
