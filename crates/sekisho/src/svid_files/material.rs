//! An X.509-SVID, its key and its bundle, in PEM.

use sekisho_identity::{leaf_facts, pem, split_chain};
use sekisho_proto::workload::X509svidResponse;
use sekisho_types::{SpiffeId, UnixTime};

/// One consistent set. Its key is freed memory's business: `main.rs` overwrites what is given back.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    pub spiffe_id: SpiffeId,
    pub serial: String,
    pub not_after: UnixTime,
    pub chain: String,
    pub key: String,
    pub bundle: String,
}

impl Material {
    /// The identity that is `wanted`, or the first, which is the default one (SPIFFE_Workload_API.md §5.3).
    pub(crate) fn of(message: X509svidResponse, wanted: Option<&SpiffeId>) -> Result<Self, String> {
        let is_wanted = |id: &str| wanted.is_none_or(|wanted| wanted.to_string() == id);
        let has: Vec<String> = message.svids.iter().map(|svid| svid.spiffe_id.clone()).collect();
        let found = message.svids.into_iter().find(|svid| is_wanted(&svid.spiffe_id));
        let svid =
            found.ok_or_else(|| format!("this process has {}, not the identity that is asked for", has.join(", ")))?;
        let unusable = |error: &dyn std::fmt::Display| format!("what the agent sent is not usable: {error}");
        let chain = split_chain(&svid.x509_svid).map_err(|e| unusable(&e))?;
        let facts = leaf_facts(chain.first().ok_or_else(|| unusable(&"no certificate"))?).map_err(|e| unusable(&e))?;
        let bundle = split_chain(&svid.bundle).map_err(|e| unusable(&e))?;
        let certificates = |all: &[Vec<u8>]| all.iter().map(|der| pem("CERTIFICATE", der)).collect();
        Ok(Self {
            spiffe_id: facts.spiffe_id,
            serial: facts.serial,
            not_after: facts.not_after,
            chain: certificates(&chain),
            key: pem("PRIVATE KEY", &svid.x509_svid_key),
            bundle: certificates(&bundle),
        })
    }
}

#[cfg(test)]
impl Material {
    pub(crate) fn of_test(serial: &str) -> Self {
        Self {
            spiffe_id: SpiffeId::parse("spiffe://example.org/a").unwrap(),
            serial: serial.into(),
            not_after: UnixTime::default(),
            chain: format!("chain {serial}"),
            key: format!("key {serial}"),
            bundle: "bundle".into(),
        }
    }
}
