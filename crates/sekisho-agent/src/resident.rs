//! SVIDs whose key the TPM of the node holds: it makes the key, and its attestation key certifies it for one issuance.

use std::sync::Arc;
use std::time::Duration;

use sekisho_evidence::node::{CertifiedAnswer, HardwareKey, KeyIssuance};
use sekisho_host::Measurement;
use sekisho_identity::{Entry, csr_der};
use sekisho_net::{Dialer, ExpectedServer, grpc_over_one};
use sekisho_proto::server::KeyCertification;
use sekisho_runtime::now;
use sekisho_tpm::{NodeTpm, TpmError, TpmSigner};
use sekisho_types::{Signer as _, UnixTime};
use tonic::transport::Channel;

use crate::core::Core;
use crate::refusal::Refusal;
use crate::server_failure::ServerFailure;
use crate::svid::HeldKey;

/// How long a TPM may take for a key, a signature and a certification, while others use it too.
const TPM_PATIENCE: Duration = Duration::from_secs(30);

/// A request for an SVID, but for what was measured.
pub(crate) struct NewKey {
    pub key: HeldKey,
    pub public_key: Vec<u8>,
    pub csr: Vec<u8>,
    pub certification: Option<KeyCertification>,
    /// The connection that it is for.
    pub server: Channel,
}

/// A key for `entry` in the TPM. It goes over a connection of its own, to which its certification is bound.
pub(crate) async fn new_key(
    core: &Core,
    entry: &Entry,
    measured: &Measurement,
    at: UnixTime,
) -> Result<NewKey, Refusal> {
    let tpm = core.cache.tpm().cloned().ok_or_else(|| Refusal::NoTpm(entry.id.clone()))?;
    let own = core.upstream.own().id;
    let expected = own.trust_domain().workload("/spire/server").map_err(Refusal::failed)?;
    let (source, address) = (core.upstream.tls.clone(), core.upstream.address.clone());
    let dialer = Dialer { source, address, expected: ExpectedServer::Id(expected), clock: now };
    let dialled = grpc_over_one(&dialer).await;
    let (server, peer) = dialled.map_err(|error| ServerFailure::outage(error.to_string()))?;
    tracing::debug!(pid = measured.pid, entry = %entry.id, "the TPM makes a key");
    // One at a time: a software TPM serves one connection.
    let proving = tokio::time::timeout(TPM_PATIENCE, core.upstream.proving.lock()).await;
    let _proving = proving.map_err(|_| Refusal::TpmBusy)?;
    let (entry, exporter) = (entry.clone(), peer.exporter);
    let make = move || certified(&tpm, &entry, at, &exporter);
    let made = tokio::time::timeout(TPM_PATIENCE, sekisho_runtime::blocking(make)).await;
    let made = made.map_err(|_| Refusal::TpmBusy)?.map_err(|_| Refusal::failed("the work of the TPM stopped"))?;
    let (signer, csr, CertifiedAnswer { public, attest, signature }) = made?;
    let public_key = signer.public_key_der().to_vec();
    let stored = signer.stored().to_bytes();
    Ok(NewKey {
        key: HeldKey::Hardware(HardwareKey { signer: Arc::new(signer), stored }),
        public_key,
        csr,
        certification: Some(KeyCertification { public, attest, signature }),
        server,
    })
}

/// A new key, its certificate signing request, and its certification for this issuance.
fn certified(
    tpm: &NodeTpm,
    entry: &Entry,
    measured_at: UnixTime,
    exporter: &[u8; 32],
) -> Result<(TpmSigner, Vec<u8>, CertifiedAnswer), Refusal> {
    let failed = |error: TpmError| Refusal::Tpm(error.to_string());
    let signer = TpmSigner::generate(tpm).map_err(failed)?;
    let csr = csr_der(&signer, Some(&entry.spiffe_id)).map_err(|error| Refusal::Tpm(error.to_string()))?;
    let issuance = KeyIssuance { entry: &entry.id, public_key: signer.public_key_der(), measured_at, exporter };
    let certified = signer.certified(|ak| issuance.binding(ak)).map_err(failed)?;
    Ok((signer, csr, certified))
}
