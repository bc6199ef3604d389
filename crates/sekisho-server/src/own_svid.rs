//! The server's own SVID in a trust domain: what it shows to those who connect.

use std::sync::Arc;
use std::time::Duration;

use sekisho_identity::Bundle;
use sekisho_keys::MemoryKey;
use sekisho_net::{Identity, TlsMaterial, TlsSource};
use sekisho_runtime::now;
use sekisho_types::{SignatureAlgorithm, Signer, UnixTime};

use crate::commands::OwnSvid;
use crate::domain::Shared;
use crate::error::ServerError;
use crate::executor::execute_own;

/// The server's own SVID, through the same gate as every other, and when it ends.
pub(crate) async fn material(domain: &Shared) -> Result<(TlsMaterial, UnixTime), ServerError> {
    let key = MemoryKey::generate(SignatureAlgorithm::EcdsaP256Sha256)?;
    let issued = execute_own(domain, OwnSvid { public_key: key.public_key_der().to_vec() }).await;
    let issued = issued.map_err(|refusal| ServerError::OwnSvid(refusal.into_error().to_string()))?;
    // The authority's certificate goes along for agents that were given its fingerprint only.
    let chain = std::iter::once(issued.identity.der).chain(domain.identity.authorities.active_certificate()).collect();
    let identity = Identity { chain, key: key.pkcs8().clone() };
    let bundle: Arc<Bundle> = domain.view.read(|state| state.bundle.clone());
    Ok((TlsMaterial::new(Some(&identity), bundle)?, issued.not_after))
}

/// Renews the server's SVID at half life, and takes each new bundle into its listener.
pub(crate) async fn run(domain: Shared, source: TlsSource) {
    let mut bundles = domain.streams.delivery.bundles();
    let mut sequence = domain.view.read(|state| state.bundle.sequence);
    let mut renew = UnixTime::default();
    loop {
        let bundle_sequence = domain.view.read(|state| state.bundle.sequence);
        if now() >= renew || bundle_sequence != sequence {
            match material(&domain).await {
                Ok((material, ends)) => {
                    source.replace(material);
                    sequence = bundle_sequence;
                    renew = sekisho_identity::renew_at(now(), ends);
                }
                Err(error) => {
                    tracing::error!(%error, "the server's own SVID was not renewed; the server will try again in 10 s");
                    renew = now().plus_seconds(10);
                }
            }
        }
        // Not longer at a time: a clock that was set has to be noticed.
        let wait = u64::try_from(renew.seconds_since(now())).unwrap_or(0).clamp(1, 10);
        let wait = Duration::from_secs(wait);
        // Whatever woke us, the next round looks at everything.
        let _woken = tokio::time::timeout(wait, bundles.changed()).await;
    }
}
