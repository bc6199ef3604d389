use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, version};
use sekisho_identity::{Bundle, LeafFacts};
use sekisho_types::Secret;

use crate::trust::{AnyClient, ExpectedServer, ServerCheck};

/// Why a connection did not come about, or a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("the private key does not fit the certificate, or is not readable: {0}")]
    Key(String),
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{address}: {source}")]
    Io { address: String, source: std::io::Error },
    #[error("{address}: the TLS handshake failed: {reason}")]
    Handshake { address: String, reason: String },
    #[error("{0} did not answer in time")]
    Timeout(String),
    #[error("no SVID is held, so nothing can be dialled; check that the agent serves this workload")]
    NoIdentity,
    #[error("peer: {0}")]
    Peer(#[from] sekisho_identity::X509Error),
}

/// A chain, leaf first, and its private key in PKCS #8.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub key: Secret<Vec<u8>>,
}

/// What TLS needs at one moment: whom we trust and, if we have one, who we are.
#[derive(Clone)]
pub struct TlsMaterial {
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    pub(crate) bundle: Arc<Bundle>,
}

impl TlsMaterial {
    pub fn new(identity: Option<&Identity>, bundle: Arc<Bundle>) -> Result<Self, NetError> {
        let certified = identity.map(certified_key).transpose()?.map(Arc::new);
        Ok(Self { certified, bundle })
    }

    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}

fn certified_key(identity: &Identity) -> Result<CertifiedKey, NetError> {
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.expose().clone()));
    let signing =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|e| NetError::Key(e.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|e| NetError::Key(e.to_string()))?;
    Ok(certified)
}

/// Why a peer is refused although its SVID is valid, if it is: for revocations.
#[derive(Clone)]
pub struct Refuse(Arc<Why>);

type Why = dyn Fn(&LeafFacts) -> Option<String> + Send + Sync;

impl Refuse {
    pub fn new(why: impl Fn(&LeafFacts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(why))
    }

    pub(crate) fn why(&self, leaf: &LeafFacts) -> Option<String> {
        (self.0)(leaf)
    }
}

/// The material in force, replaced as SVIDs and bundles rotate; what is open stays on what it began with.
#[derive(Clone)]
pub struct TlsSource {
    material: Arc<ArcSwap<TlsMaterial>>,
    pub(crate) refuse: Option<Refuse>,
}

impl TlsSource {
    pub fn new(material: TlsMaterial) -> Self {
        Self { material: Arc::new(ArcSwap::from_pointee(material)), refuse: None }
    }

    /// The same, which also refuses peers for this reason, on both sides.
    #[must_use]
    pub fn refusing(self, refuse: Refuse) -> Self {
        Self { refuse: Some(refuse), ..self }
    }

    pub fn replace(&self, material: TlsMaterial) {
        self.material.store(Arc::new(material));
    }

    pub fn current(&self) -> Arc<TlsMaterial> {
        self.material.load_full()
    }

    /// For listeners. A client certificate is asked for and, if one comes, checked; whether one is needed is the
    /// handler's rule.
    pub(crate) fn server_config(&self, client_required: bool, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, NetError> {
        let verifier = Arc::new(AnyClient { source: self.clone(), required: client_required, provider: provider() });
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(PortClock))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// For dialers: our SVID if we have one, and a server that must be `expected`.
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
        config.enable_sni = false;
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

/// Shows our SVID to whoever asks: the server was checked before it can.
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

impl std::fmt::Debug for Refuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Refuse")
    }
}

impl std::fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsSource")
    }
}

/// The certificates in a PEM text, as DER, in order.
pub fn certificates_from_pem(pem: &[u8]) -> Vec<Vec<u8>> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem).filter_map(|found| found.ok().map(|der| der.to_vec())).collect()
}

/// The first private key in a PEM text, if it is PKCS #8.
pub fn private_key_from_pem(pem: &[u8]) -> Option<Secret<Vec<u8>>> {
    use rustls::pki_types::pem::PemObject;
    PrivatePkcs8KeyDer::from_pem_slice(pem).ok().map(|key| Secret::new(key.secret_pkcs8_der().to_vec()))
}
