//! Certificates of peers: the SPIFFE rules of `sekisho-identity` in place of host names.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime as PkiTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use sekisho_identity::{Bundle, LeafFacts, X509Error, verify_svid};
use sekisho_types::{Digest, SpiffeId, UnixTime, Verified};

use crate::material::{Refuse, TlsSource};
use crate::verified::verify;

/// The path of a server's own SPIFFE ID, in its trust domain.
const SERVER_PATH: &str = "/spire/server";

/// Whom a dialer accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedServer {
    /// Exactly this SPIFFE ID, by the bundle in force.
    Id(SpiffeId),
    /// This SPIFFE ID, below an authority certificate with one of these SHA-256, which the server shows itself.
    /// For the first contact of a node that was given fingerprints.
    Fingerprint { id: SpiffeId, authorities: Vec<Digest> },
}

impl ExpectedServer {
    /// The name to ask for (SNI). A server may serve several trust domains, each under its name. Of workloads nothing
    /// is asked: the name is sent in clear text, and would say who talks to whom.
    pub(crate) fn asked_name(&self) -> Option<DnsName<'static>> {
        let (Self::Id(id) | Self::Fingerprint { id, .. }) = self;
        let name = id.trust_domain_name();
        if id.path() == SERVER_PATH { DnsName::try_from(name.to_owned()).ok() } else { None }
    }
}

#[derive(Debug)]
pub(crate) struct ServerCheck {
    pub(crate) source: TlsSource,
    pub(crate) expected: ExpectedServer,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCheck {
    fn check(&self, chain: &[Vec<u8>], now: UnixTime) -> Result<(), Error> {
        let (id, facts) = match &self.expected {
            ExpectedServer::Id(id) => (id, verify(chain, self.source.current().bundle(), now).map_err(server_refused)?),
            ExpectedServer::Fingerprint { id, authorities } => {
                (id, verify_by_fingerprint(chain, id, authorities, now).map_err(server_refused)?)
            }
        };
        if facts.get().spiffe_id != *id {
            return Err(other(format!("the server is `{}`, and `{id}` was expected", facts.get().spiffe_id)));
        }
        in_force(self.source.refuse.as_ref(), facts.get())
    }
}

fn verify_by_fingerprint(
    chain: &[Vec<u8>],
    id: &SpiffeId,
    authorities: &[Digest],
    now: UnixTime,
) -> Result<Verified<LeafFacts>, X509Error> {
    let mut bundle = Bundle::empty(id.trust_domain());
    for certificate in chain.iter().skip(1) {
        let mut candidate = Bundle::empty(id.trust_domain());
        let known = candidate.add_x509(certificate.clone()).is_ok()
            && candidate.fingerprints().iter().all(|shown| authorities.contains(shown));
        if known {
            bundle = candidate;
        }
    }
    verify_svid(chain.get(..1).unwrap_or_default(), &bundle, now)
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: PkiTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(&chain_of(end_entity, intermediates), time(now))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// How the client selected its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SiteSelection {
    /// Nothing else is at this listener.
    Alone,
    /// By the name that they asked for, or by none.
    ByName,
}

/// Any SVID of the trust domain in force.
#[derive(Debug)]
pub(crate) struct AnyClient {
    pub(crate) source: TlsSource,
    pub(crate) required: bool,
    pub(crate) asked: SiteSelection,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl AnyClient {
    fn refused(&self, error: X509Error) -> Error {
        match error {
            X509Error::TrustDomain { found, wanted } if self.asked == SiteSelection::ByName => other(format!(
                "the client's SVID is of trust domain `{found}`, and it connected to `{wanted}`; it reaches its own by \
                    the TLS server name (SNI) `{found}`"
            )),
            error => refused(error),
        }
    }
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: PkiTime,
    ) -> Result<ClientCertVerified, Error> {
        let bundle = self.source.current().bundle.clone();
        let facts = verify(&chain_of(end_entity, intermediates), &bundle, time(now));
        let facts = facts.map_err(|error| self.refused(error))?;
        in_force(self.source.refuse.as_ref(), facts.get())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn chain_of(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect()
}

fn time(now: PkiTime) -> UnixTime {
    UnixTime::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

fn in_force(refuse: Option<&Refuse>, leaf: &LeafFacts) -> Result<(), Error> {
    refuse.and_then(|refuse| refuse.why(leaf)).map_or(Ok(()), |why| Err(other(why)))
}

fn other(message: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(std::io::Error::other(message)))))
}

fn server_refused(error: X509Error) -> Error {
    match error {
        X509Error::TrustDomain { found, wanted } => other(format!(
            "the server is of trust domain `{found}`, and `{wanted}` was expected; check `--trust-domain`"
        )),
        error => refused(error),
    }
}

fn refused(error: X509Error) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
