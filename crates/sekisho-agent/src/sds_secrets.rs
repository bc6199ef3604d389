//! Secrets as Envoy takes them, under the names that SPIRE's agent gives them: an SVID by its SPIFFE ID or `default`,
//! the authorities by their trust domain or `ROOTCA`, all authorities as `ALL`.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use prost_types::Any;
use sekisho_identity::{Bundle, pem};
use sekisho_proto::envoy::core::data_source::Specifier;
use sekisho_proto::envoy::core::node::UserAgentVersionType;
use sekisho_proto::envoy::core::{DataSource, Node, TypedExtensionConfig};
use sekisho_proto::envoy::tls::spiffe_cert_validator_config::TrustDomain;
use sekisho_proto::envoy::tls::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate, secret,
};

use crate::svid::CachedSvid;

const SVID: &str = "default";
const BUNDLE: &str = "ROOTCA";
const ALL_BUNDLES: &str = "ALL";
pub(crate) const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const VALIDATOR_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// What a process has at one moment.
pub(crate) struct State {
    pub bundle: Arc<Bundle>,
    pub svids: Vec<Arc<CachedSvid>>,
}

/// The secrets that a client requested.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestedSecrets {
    pub names: BTreeSet<String>,
    /// All that the process has, besides the names.
    pub everything: bool,
    /// Envoy from 1.18 verifies peers by SPIFFE's rules; an older one, or another client, by the authorities alone.
    pub by_spiffe: bool,
}

impl RequestedSecrets {
    /// A request without names asks for everything.
    pub(crate) fn of(names: Vec<String>, by_spiffe: bool) -> Self {
        Self { everything: names.is_empty(), names: names.into_iter().collect(), by_spiffe }
    }

    /// The names of all secrets that are asked for.
    pub(crate) fn all(&self, state: &State) -> BTreeSet<String> {
        let everything = if self.everything { all_names(state) } else { BTreeSet::new() };
        &self.names | &everything
    }

    /// Whether a private key is among it; authorities alone need no SVID.
    pub(crate) fn needs_svids(&self, bundle: &Bundle) -> bool {
        self.everything || self.names.iter().any(|name| !is_bundle(name, bundle))
    }
}

fn is_bundle(name: &str, bundle: &Bundle) -> bool {
    [BUNDLE, ALL_BUNDLES].contains(&name) || name == bundle.trust_domain.id().to_string()
}

/// Whether a client is an Envoy whose validator knows SPIFFE.
pub(crate) fn verifies_by_spiffe(node: &Node) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else { return false };
    build.version.as_ref().is_some_and(|version| (version.major_number, version.minor_number) >= (1, 18))
}

/// The secret of one name; `None` if the process has none of this name.
pub(crate) fn secret(name: &str, by_spiffe: bool, state: &State) -> Option<Any> {
    if is_bundle(name, &state.bundle) {
        // One trust domain is all that there is: federated ones are not served yet.
        return Some(any(
            name,
            secret::Type::ValidationContext(validation(&state.bundle, by_spiffe || name == ALL_BUNDLES)),
        ));
    }
    let found = match name {
        SVID => state.svids.first(),
        id => state.svids.iter().find(|svid| svid.spiffe_id.to_string() == id),
    };
    found.and_then(|svid| Some(any(name, secret::Type::TlsCertificate(certificate(svid)?))))
}

/// The names of everything that a process has.
fn all_names(state: &State) -> BTreeSet<String> {
    let svids = state.svids.iter().map(|svid| svid.spiffe_id.to_string());
    svids.chain([state.bundle.trust_domain.id().to_string()]).collect()
}

/// `None`: its key stays in the TPM.
fn certificate(svid: &CachedSvid) -> Option<TlsCertificate> {
    let chain: String = svid.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let key = pem("PRIVATE KEY", svid.deliverable_key()?.expose());
    Some(TlsCertificate { certificate_chain: Some(inline(chain)), private_key: Some(inline(key)) })
}

fn validation(bundle: &Bundle, by_spiffe: bool) -> CertificateValidationContext {
    let authorities: String =
        bundle.x509_authorities.iter().map(|authority| pem("CERTIFICATE", &authority.der)).collect();
    if !by_spiffe {
        return CertificateValidationContext { trusted_ca: Some(inline(authorities)), custom_validator_config: None };
    }
    let name = bundle.trust_domain.to_string();
    let trust_domains = vec![TrustDomain { name, trust_bundle: Some(inline(authorities)) }];
    let value = SpiffeCertValidatorConfig { trust_domains }.encode_to_vec();
    let custom_validator_config = Some(TypedExtensionConfig {
        name: "envoy.tls.cert_validator.spiffe".to_owned(),
        typed_config: Some(Any { type_url: VALIDATOR_TYPE.to_owned(), value }),
    });
    CertificateValidationContext { trusted_ca: None, custom_validator_config }
}

fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(text.into_bytes())) }
}

fn any(name: &str, what: secret::Type) -> Any {
    let value = Secret { name: name.to_owned(), r#type: Some(what) }.encode_to_vec();
    Any { type_url: SECRET_TYPE.to_owned(), value }
}

#[cfg(test)]
mod tests {
    use sekisho_proto::envoy::core::BuildVersion;
    use sekisho_proto::envoy::version::SemanticVersion;
    use sekisho_types::TrustDomain as Name;

    use super::*;

    fn state() -> State {
        State { bundle: Arc::new(Bundle::empty(Name::parse("example.org").unwrap())), svids: vec![] }
    }

    #[test]
    fn an_old_envoy_gets_authorities_plain() {
        let decoded = |name: &str, by_spiffe| {
            let any = secret(name, by_spiffe, &state()).unwrap();
            let found = Secret::decode(any.value.as_slice()).unwrap();
            assert_eq!(found.name, name);
            match found.r#type {
                Some(secret::Type::ValidationContext(context)) => context,
                other => panic!("{other:?}"),
            }
        };
        for name in ["ROOTCA", "spiffe://example.org"] {
            assert!(decoded(name, false).trusted_ca.is_some());
            assert!(decoded(name, true).custom_validator_config.is_some());
        }
        assert!(decoded("ALL", false).custom_validator_config.is_some());
        assert!(secret("default", true, &state()).is_none());
        assert!(secret("spiffe://example.org/other", true, &state()).is_none());
    }

    #[test]
    fn only_an_envoy_that_can_verifies_by_spiffe() {
        let node = |major_number, minor_number| {
            let version = Some(SemanticVersion { major_number, minor_number, patch: 0 });
            let build = UserAgentVersionType::UserAgentBuildVersion(BuildVersion { version });
            Node { user_agent_version_type: Some(build), ..Node::default() }
        };
        assert!(verifies_by_spiffe(&node(1, 18)) && verifies_by_spiffe(&node(2, 0)));
        assert!(!verifies_by_spiffe(&node(1, 17)) && !verifies_by_spiffe(&Node::default()));
    }
}
