//! The material of TLS: certificates, keys, bundles, and the reasons to refuse peers.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, OtherError};
use sekisho_identity::{Bundle, LeafFacts};
use sekisho_types::{Secret, Signer};

use crate::remote_key::RemoteKey;

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
    #[error("there is no SVID to connect with; check that the agent serves this workload")]
    NoIdentity,
    #[error("the peer showed no SVID")]
    NoPeer,
    #[error("peer: {0}")]
    Peer(#[from] sekisho_identity::X509Error),
    #[error(
        "clients cannot ask for `{0}` as TLS server name (SNI), because it is not a DNS name; make its \
            trust domain the first of the server, or give it a server of its own"
    )]
    NoServerName(String),
    #[error("a listener needs at least one trust domain")]
    NoSite,
    #[error("two trust domains of this server answer to the name `{0}`; give each name to one of them")]
    NameTwice(String),
}

impl NetError {
    pub(crate) fn handshake(address: SocketAddr, error: &std::io::Error) -> Self {
        Self::Handshake { address: address.to_string(), reason: handshake_reason(error) }
    }
}

/// Why a handshake failed. A reason of ours is shown without the names of rustls's types around it.
pub(crate) fn handshake_reason(error: &std::io::Error) -> String {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(own)))) => own.to_string(),
        _ => error.to_string(),
    }
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
    /// A signature of ours may take long.
    pub(crate) is_slow: bool,
    pub(crate) bundle: Arc<Bundle>,
}

impl TlsMaterial {
    pub fn new(identity: Option<&Identity>, bundle: Arc<Bundle>) -> Result<Self, NetError> {
        let certified = identity.map(certified_key).transpose()?.map(Arc::new);
        Ok(Self { certified, is_slow: false, bundle })
    }

    /// With a key that is elsewhere, in a TPM for example, and only signs.
    pub fn signing(chain: &[Vec<u8>], signer: Arc<dyn Signer>, bundle: Arc<Bundle>) -> Result<Self, NetError> {
        let is_slow = signer.is_slow();
        let key = RemoteKey::new(signer).ok_or_else(|| NetError::Key("no SVID has an RSA key here".to_owned()))?;
        let certified = CertifiedKey::new(certificates(chain), Arc::new(key));
        certified.keys_match().map_err(|e| NetError::Key(e.to_string()))?;
        Ok(Self { certified: Some(Arc::new(certified)), is_slow, bundle })
    }

    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}

fn certificates(chain: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

fn certified_key(identity: &Identity) -> Result<CertifiedKey, NetError> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.expose().clone()));
    let signing =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|e| NetError::Key(e.to_string()))?;
    let certified = CertifiedKey::new(certificates(&identity.chain), signing);
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

/// The material in force, replaced as SVIDs and bundles rotate. Open connections keep the material with which they
/// began.
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
