//! What this node proves itself with: for each attestor its flags, and the proof that is made from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sekisho_evidence::node::{JoinTokenProof, NodeProof, X509PopProof};
use sekisho_keys::MemoryKey;
use sekisho_net::{certificates_from_pem, private_key_from_pem};
use sekisho_tpm::{NodeTpm, TpmProof};
use sekisho_types::{Secret, SignatureAlgorithm};

use crate::error::AgentError;

#[derive(Debug, Clone, Default, Args)]
pub struct ProofArgs {
    /// File with a join token; it is used for the first attestation only
    #[arg(long, env = "SEKISHO_JOIN_TOKEN_FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Certificate chain (PEM) of this node, to attest by x509pop
    #[arg(long, env = "SEKISHO_NODE_CERT", requires = "node_key")]
    pub node_cert: Option<PathBuf>,
    /// Private key (PEM, PKCS #8, P-256 or RSA) of this node
    #[arg(long, env = "SEKISHO_NODE_KEY", requires = "node_cert")]
    pub node_key: Option<PathBuf>,
    /// TPM 2.0 of this node: `/dev/tpmrm0`, or the socket of a software TPM. With it no weaker proof is used
    #[arg(long, env = "SEKISHO_TPM", value_name = "PATH")]
    pub tpm: Option<PathBuf>,
    /// Authorities (PEM) between the TPM's endorsement certificate and one that the server trusts
    #[arg(long, env = "SEKISHO_TPM_CHAIN", value_name = "FILE", requires = "tpm")]
    pub tpm_chain: Option<PathBuf>,
    /// Where securityfs is mounted, which holds the logs of firmware (`tpm0`) and kernel (`ima`). With a device the
    /// default is `/sys/kernel/security`; a software TPM has none
    #[arg(long, env = "SEKISHO_TPM_LOGS", value_name = "FOLDER", requires = "tpm")]
    pub tpm_logs: Option<PathBuf>,
}

/// The proof of one attestor; `None` if its flags are not given.
type ConfiguredProof = Option<Result<Arc<dyn NodeProof>, AgentError>>;

impl ProofArgs {
    /// What this node proves itself with, read anew: the strongest for which there are flags.
    pub(crate) fn proof(&self) -> Result<Arc<dyn NodeProof>, AgentError> {
        self.tpm().or_else(|| self.x509pop()).or_else(|| self.join_token()).unwrap_or(Err(AgentError::NoProof))
    }

    /// Whether it can show its state when the server asks. Only a TPM can.
    pub(crate) const fn shows_state(&self) -> bool {
        self.tpm.is_some()
    }

    /// The TPM that holds this agent's keys, if there is one.
    pub(crate) fn node_tpm(&self) -> Result<Option<NodeTpm>, AgentError> {
        self.tpm.as_ref().map(|path| NodeTpm::at(path).map_err(|source| unusable(path, source))).transpose()
    }

    fn join_token(&self) -> ConfiguredProof {
        let token = read(self.join_token_file.as_ref()?);
        let proof =
            |bytes: Secret<Vec<u8>>| Arc::new(JoinTokenProof(Secret::new(bytes.expose().trim_ascii().to_vec())));
        Some(token.map(|bytes| proof(bytes) as Arc<dyn NodeProof>))
    }

    fn tpm(&self) -> ConfiguredProof {
        let path = self.tpm.as_ref()?;
        let unusable = |source| unusable(path, source);
        let chain = self.tpm_chain.as_ref().map_or(Ok(vec![]), |file| Ok(certificates_from_pem(read(file)?.expose())));
        Some(chain.and_then(|chain| match TpmProof::open(path, chain) {
            Ok(proof) => {
                let proof = proof.with_kernel(sekisho_host::kernel_state());
                let proof = self.tpm_logs.iter().cloned().fold(proof, TpmProof::with_logs);
                Ok(Arc::new(proof) as Arc<dyn NodeProof>)
            }
            Err(source) => Err(unusable(source)),
        }))
    }

    fn x509pop(&self) -> ConfiguredProof {
        match (&self.node_cert, &self.node_key) {
            (Some(chain), Some(key)) => Some(x509pop(chain, key)),
            (None, None) => None,
            _ => Some(Err(AgentError::NodeCertificate)),
        }
    }
}

fn unusable(path: &Path, source: std::io::Error) -> AgentError {
    AgentError::Tpm { path: path.display().to_string(), source }
}

fn x509pop(chain: &Path, key: &Path) -> Result<Arc<dyn NodeProof>, AgentError> {
    let chain = certificates_from_pem(read(chain)?.expose());
    let key = private_key_from_pem(read(key)?.expose()).and_then(|der| {
        let kinds = [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::RsaPssSha256];
        kinds.into_iter().find_map(|kind| MemoryKey::from_pkcs8(kind, der.clone()).ok())
    });
    match key {
        Some(key) if !chain.is_empty() => Ok(Arc::new(X509PopProof { chain, key })),
        _ => Err(AgentError::NodeCertificate),
    }
}

fn read(path: &Path) -> Result<Secret<Vec<u8>>, AgentError> {
    let file = |source| AgentError::File { path: path.display().to_string(), source };
    std::fs::read(path).map(Secret::new).map_err(file)
}

#[cfg(test)]
mod tests {
    use sekisho_evidence::node::Session;
    use sekisho_types::Digest;

    use super::*;

    #[test]
    fn a_certificate_is_preferred_to_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, " 0123456789abcdef\n").unwrap();
        let mut args = ProofArgs { join_token_file: Some(token.clone()), ..Default::default() };
        let proof = args.proof().unwrap();
        let session = Session { exporter: [0; 32], key: Digest::new([0; 32]), fresh: &|| [1; 32] };
        assert_eq!(proof.payload(&session).unwrap(), b"0123456789abcdef");
        assert_eq!((proof.class().name, proof.can_repeat()), ("join_token", false));
        (args.node_cert, args.node_key) = (Some(token.clone()), Some(token));
        assert!(matches!(args.proof().err(), Some(AgentError::NodeCertificate)));
        args.node_cert = None;
        assert!(matches!(args.proof().err(), Some(AgentError::NodeCertificate)));
    }

    #[test]
    fn without_flags_nothing_proves_the_node() {
        assert!(matches!(ProofArgs::default().proof().err(), Some(AgentError::NoProof)));
        let missing = ProofArgs { join_token_file: Some("/nowhere/token".into()), ..Default::default() };
        assert!(matches!(missing.proof().err(), Some(AgentError::File { .. })));
    }
}
