//! How TLS is set up on both sides.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, version};

use crate::material::{NetError, TlsSource};
use crate::trust::{AnyClient, ExpectedServer, ServerCheck, SiteSelection};

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
        let material = self.current();
        let check = ServerCheck {
            bundle: material.bundle.clone(),
            expected: expected.clone(),
            refuse: self.refuse.clone(),
            provider: provider(),
        };
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(PortClock))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(check));
        let mut config = match &material.certified {
            Some(certified) => builder.with_client_cert_resolver(Arc::new(OwnIdentity(certified.clone()))),
            None => builder.with_no_client_auth(),
        };
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

/// Shows our SVID to every server that asks: the server was verified before it can ask.
#[derive(Debug)]
struct OwnIdentity(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for OwnIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
