//! Evidence of TPMs and measurement logs: every case of the kinds that are verified here.

mod facts;
mod logs;
mod tpm;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sekisho_types::{Digest, UnixTime};
use serde_json::Value;

/// One case of the manifest.
pub(super) struct Case {
    folder: PathBuf,
    value: Value,
}

impl Case {
    /// The bytes of the file with this role, or `None` where it was not delivered.
    fn file(&self, role: &str) -> Option<Vec<u8>> {
        let name = self.value["files"].get(role)?.as_str().unwrap();
        Some(std::fs::read(self.folder.join(name)).unwrap())
    }

    fn text(&self, role: &str) -> Option<String> {
        self.file(role).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn json(&self, role: &str) -> Option<Value> {
        self.file(role).map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    /// Certificates as DER, from files that are PEM or DER.
    fn certificates(files: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let der = |file: Vec<u8>| match x509_parser::pem::Pem::iter_from_buffer(&file).collect::<Result<Vec<_>, _>>() {
            Ok(pems) if !pems.is_empty() => pems.into_iter().map(|pem| pem.contents).collect(),
            _ => vec![file],
        };
        files.into_iter().flat_map(der).collect()
    }

    fn anchors(&self) -> Vec<Vec<u8>> {
        let names = self.value["anchors"].as_array().unwrap().iter();
        Self::certificates(names.map(|name| std::fs::read(self.folder.join(name.as_str().unwrap())).unwrap()))
    }

    fn at(&self) -> UnixTime {
        sekisho_runtime::parse_time(self.value["at"].as_str().unwrap()).unwrap()
    }

    fn nonce(&self) -> Vec<u8> {
        hex::decode(self.value["nonce_hex"].as_str().unwrap()).unwrap()
    }

    fn is(&self, member: &str, wanted: &str) -> bool {
        self.value[member] == wanted
    }

    fn allowed_digests(&self) -> Option<std::collections::BTreeSet<Digest>> {
        let list = self.value["facts"].get("allowed_ima_sha256")?.as_array().unwrap();
        Some(list.iter().map(|digest| Digest::parse(digest.as_str().unwrap()).unwrap()).collect())
    }

    /// Each expected fact that was not found, or has another value.
    fn other_facts(&self, found: &BTreeMap<&'static str, Value>) -> Vec<String> {
        let expected = self.value["facts"].as_object().unwrap().iter();
        let verified = expected.filter(|(name, _)| !name.starts_with("allowed_"));
        verified
            .filter(|(name, value)| found.get(name.as_str()) != Some(value))
            .map(|(name, value)| format!("{name} is {:?}, should be {value}", found.get(name.as_str())))
            .collect()
    }
}

/// Runs `check` on every case of a kind. It returns what is wrong.
fn each_case(kind: &str, check: impl Fn(&Case) -> Vec<String>) {
    let Some(folder) = super::folder("attestation") else { return };
    let manifest = super::json(&folder.join("cases.json"));
    let mut wrong = vec![];
    let mut count = 0;
    for value in manifest["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind) {
        let case = Case { folder: folder.clone(), value: value.clone() };
        count += 1;
        wrong.extend(check(&case).into_iter().map(|what| format!("{}: {what} ({})", value["id"], value["why"])));
    }
    assert!(count > 0, "the manifest has no case of kind {kind}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
