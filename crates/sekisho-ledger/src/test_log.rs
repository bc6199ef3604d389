//! A log in memory with a key of its own, for tests of this crate.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sekisho_types::{SignError, SignatureAlgorithm, Signer};

use crate::{Checkpoint, Frontier, Hash, NoteSigner, VerifierKey, sha256};

pub(crate) struct TestKey {
    pair: Ed25519KeyPair,
    der: Vec<u8>,
}

impl TestKey {
    pub(crate) fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        // RFC 8410 §4.
        let mut der = vec![0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        der.extend_from_slice(pair.public_key().as_ref());
        Self { pair, der }
    }

    /// The key under a name, as one of kind `kind`.
    pub(crate) fn verifier(&self, name: &str, kind: u8) -> VerifierKey {
        let bytes = [&[kind], self.pair.public_key().as_ref()].concat();
        let id = sha256(&[name.as_bytes(), b"\n", &bytes]);
        VerifierKey::parse(&format!("{name}+{}+{}", hex::encode(&id[..4]), BASE64.encode(bytes))).unwrap()
    }

    /// A cosignature/v1 line over a note's text.
    pub(crate) fn cosign(&self, name: &str, time: u64, text: &str) -> String {
        let signature = self.pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let bytes = [&self.verifier(name, 4).id()[..], &time.to_be_bytes(), signature.as_ref()].concat();
        format!("— {name} {}\n", BASE64.encode(bytes))
    }
}

impl Signer for TestKey {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Ed25519
    }

    fn public_key_der(&self) -> &[u8] {
        &self.der
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}

pub(crate) struct TestLog {
    pub(crate) key: TestKey,
    pub(crate) origin: String,
    frontier: Frontier,
    stored: BTreeMap<(u8, u64), Hash>,
    roots: Vec<Hash>,
}

impl TestLog {
    pub(crate) fn new(origin: &str) -> Self {
        let frontier = Frontier::default();
        let roots = vec![frontier.root()];
        Self { key: TestKey::new(), origin: origin.to_owned(), frontier, stored: BTreeMap::new(), roots }
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        let stored = &mut self.stored;
        self.frontier.push(leaf, |level, index, hash| {
            stored.insert((level, index), *hash);
        });
        self.roots.push(self.frontier.root());
    }

    pub(crate) fn stored(&self) -> impl Fn(u8, u64) -> Option<Hash> + '_ {
        |level, index| self.stored.get(&(level, index)).copied()
    }

    pub(crate) fn at(&self, size: u64) -> Checkpoint {
        let root = self.roots[usize::try_from(size).unwrap()];
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    pub(crate) fn signed(&self, size: u64) -> String {
        NoteSigner::new(&self.origin, &self.key).unwrap().sign(&self.at(size).to_string()).unwrap()
    }

    pub(crate) fn policy(&self) -> String {
        format!("log {}\nquorum none\n", self.key.verifier(&self.origin, 1))
    }
}
