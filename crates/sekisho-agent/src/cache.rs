//! What the agent keeps on disk, so that a restart while the server is down keeps serving (law L14).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use sekisho_disk::{DiskError, SealedBy, SealedCache};
use sekisho_evidence::node::HardwareKey;
use sekisho_identity::leaf_facts;
use sekisho_proto::{
    bundle_from_wire, bundle_to_wire, entry_from_wire, entry_to_wire, revocations_from_bytes, revocations_to_bytes,
    server as wire, types,
};
use sekisho_tpm::{NodeTpm, StoredKey, TpmSigner};
use sekisho_types::{Digest, EntryId, Secret, SpiffeId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::seal::sealing_key;
use crate::server_state::{Position, ServerState};
use crate::svid::{AgentSvid, CachedSvid, HeldKey, SvidKey};

pub(crate) struct Cache {
    file: Mutex<SealedCache>,
    sealed_by: SealedBy,
    tpm: Option<NodeTpm>,
    wanted: tokio::sync::Notify,
}

/// The content, as last stored.
pub(crate) struct Stored {
    pub own: AgentSvid,
    pub server_state: ServerState,
    pub held: BTreeMap<SvidKey, Arc<CachedSvid>>,
}

#[derive(Serialize, Deserialize)]
struct Form {
    own: OwnForm,
    revision: u64,
    /// Absent in caches of an earlier release: the server then begins with everything.
    #[serde(default)]
    position: Option<PositionForm>,
    bundle: String,
    entries: Vec<String>,
    policy: Option<String>,
    /// Absent in caches of an earlier release.
    #[serde(default)]
    revocations: Option<String>,
    held: Vec<CachedSvidForm>,
}

#[derive(Serialize, Deserialize)]
struct PositionForm {
    epoch: String,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct OwnForm {
    id: String,
    chain: Vec<String>,
    #[serde(flatten)]
    key: KeyForm,
    not_before: i64,
    not_after: i64,
}

#[derive(Serialize, Deserialize)]
struct KeyForm {
    /// Empty for a key that is in the TPM.
    key: String,
    /// From what the TPM has the key again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hardware_key: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct CachedSvidForm {
    entry_id: String,
    measurement: String,
    spiffe_id: String,
    chain: Vec<String>,
    #[serde(flatten)]
    key: KeyForm,
    not_after: i64,
    renew_at: i64,
    hint: String,
    log_index: u64,
    entry_revision: i64,
}

impl Cache {
    /// The cache in `folder`, sealed by the TPM, or else under a key file there.
    pub(crate) fn open(folder: &Path, tpm: Option<NodeTpm>) -> Result<Self, DiskError> {
        let (key, sealed_by) = sealing_key(folder, tpm.as_ref())?;
        let file = SealedCache::new(&folder.join("cache.sealed"), &key, sealed_by)?;
        Ok(Self { file: Mutex::new(file), sealed_by, tpm, wanted: tokio::sync::Notify::new() })
    }

    /// The TPM that seals it, in which keys of workloads can be too.
    pub(crate) const fn tpm(&self) -> Option<&NodeTpm> {
        self.tpm.as_ref()
    }

    pub(crate) const fn sealed_by(&self) -> SealedBy {
        self.sealed_by
    }

    /// Law L16: a key file beside what it seals keeps out other users, and no one who reads the disk.
    pub(crate) fn log_sealing(&self) {
        let sealed_by = self.sealed_by.as_str();
        match self.sealed_by {
            SealedBy::KeyFile => {
                tracing::warn!(sealed_by, "the cache is sealed by a file on the same disk, not by hardware");
            }
            SealedBy::Tpm => tracing::info!(sealed_by, "the cache is sealed by the TPM"),
        }
    }

    /// Writes what `content` is when it is this writer's turn: of two the later must not write what is older.
    pub(crate) fn store(&self, content: impl FnOnce() -> Stored) -> Result<(), DiskError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Stored { own, server_state: state, held } = content();
        let form = Form {
            own: OwnForm {
                id: own.id.to_string(),
                chain: own.chain.iter().map(hex::encode).collect(),
                key: key_form(&own.key),
                not_before: own.not_before.nanos(),
                not_after: own.not_after.nanos(),
            },
            revision: state.revision,
            position: state.position.as_ref().map(position_form),
            bundle: hex::encode(bundle_to_wire(&state.bundle).encode_to_vec()),
            entries: state.entries.values().map(|entry| hex::encode(entry_to_wire(entry).encode_to_vec())).collect(),
            policy: state.policy.as_ref().map(|policy| hex::encode(policy.encode_to_vec())),
            revocations: state.revocations.as_ref().map(|all| hex::encode(revocations_to_bytes(all))),
            held: held.iter().map(|(key, svid)| held_form(key, svid)).collect(),
        };
        let bytes = serde_json::to_vec(&form).map_err(|e| DiskError::Rule(e.to_string()))?;
        file.store(Secret::new(bytes).expose())
    }

    /// Has it written soon. What is lost in a crash is asked for again.
    pub(crate) fn request_save(&self) {
        self.wanted.notify_one();
    }

    /// Returns once it is to be written.
    pub(crate) async fn save_requested(&self) {
        self.wanted.notified().await;
    }

    /// What was stored, if all of it is readable. A cache that is not is set aside: the agent attests again.
    pub(crate) fn load(&self) -> Option<Stored> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = file.load().inspect_err(|error| {
            tracing::error!(%error, "the sealed cache is not used; the agent attests again");
        });
        let bytes = loaded.ok()??;
        read(&serde_json::from_slice(bytes.expose()).ok()?, self.tpm.as_ref())
    }
}

/// Reads what a cache held, once it is unsealed: whether an agent would go on with it.
pub fn check_cached(plain: &[u8]) -> Result<(), String> {
    let form = serde_json::from_slice(plain).map_err(|error| error.to_string())?;
    read(&form, None).map(drop).ok_or_else(|| "a part of it has no such form".to_owned())
}

fn position_form(position: &Position) -> PositionForm {
    PositionForm { epoch: hex::encode(&position.epoch), revision: position.revision }
}

fn key_form(key: &HeldKey) -> KeyForm {
    match key {
        HeldKey::Memory(key) => KeyForm { key: hex::encode(key.expose()), hardware_key: None },
        HeldKey::Hardware(key) => KeyForm { key: String::new(), hardware_key: Some(hex::encode(&key.stored)) },
    }
}

fn held_form(key: &SvidKey, svid: &CachedSvid) -> CachedSvidForm {
    CachedSvidForm {
        entry_id: key.0.as_str().to_owned(),
        measurement: key.1.to_string(),
        spiffe_id: svid.spiffe_id.to_string(),
        chain: svid.chain.iter().map(hex::encode).collect(),
        key: key_form(&svid.key),
        not_after: svid.not_after.nanos(),
        renew_at: svid.renew_at.nanos(),
        hint: svid.hint.clone(),
        log_index: svid.log_index,
        entry_revision: svid.entry_revision,
    }
}

/// The key of an SVID. One in a TPM is read with that TPM only.
fn key_of(form: &KeyForm, tpm: Option<&NodeTpm>) -> Option<HeldKey> {
    let Some(stored) = &form.hardware_key else {
        return Some(HeldKey::Memory(Secret::new(hex::decode(&form.key).ok()?)));
    };
    let stored = hex::decode(stored).ok()?;
    let signer = TpmSigner::of(tpm?, StoredKey::from_bytes(&stored)?)?;
    Some(HeldKey::Hardware(HardwareKey { signer: Arc::new(signer), stored }))
}

fn read(form: &Form, tpm: Option<&NodeTpm>) -> Option<Stored> {
    let bytes = |text: &str| hex::decode(text).ok();
    let chain = |texts: &[String]| texts.iter().map(|der| bytes(der)).collect::<Option<Vec<_>>>();
    let own = AgentSvid {
        id: SpiffeId::parse(&form.own.id).ok()?,
        chain: chain(&form.own.chain)?,
        key: key_of(&form.own.key, tpm)?,
        not_before: UnixTime::from_nanos(form.own.not_before),
        not_after: UnixTime::from_nanos(form.own.not_after),
    };
    let bundle = bundle_from_wire(&types::Bundle::decode(bytes(&form.bundle)?.as_slice()).ok()?).ok()?;
    let entry = |text: &String| {
        let wire = types::Entry::decode(bytes(text)?.as_slice()).ok()?;
        let id = EntryId::parse(&wire.id).ok()?;
        Some((id.clone(), Arc::new(entry_from_wire(&wire, &id, None).ok()?)))
    };
    let entries = form.entries.iter().map(entry).collect::<Option<BTreeMap<_, _>>>()?;
    let policy = match &form.policy {
        Some(text) => Some(wire::Policy::decode(bytes(text)?.as_slice()).ok()?),
        None => None,
    };
    let held = |form: &CachedSvidForm| {
        let key = (EntryId::parse(&form.entry_id).ok()?, Digest::parse(&form.measurement).ok()?);
        let chain = chain(&form.chain)?;
        // One that does not say where it comes from, as an earlier release issued it, falls under revocations that do
        // not concern it, so it is replaced at once.
        let unmarked = chain.first().and_then(|leaf| leaf_facts(leaf).ok()).is_some_and(|leaf| leaf.issuance.is_none());
        let svid = CachedSvid {
            spiffe_id: SpiffeId::parse(&form.spiffe_id).ok()?,
            chain,
            key: key_of(&form.key, tpm)?,
            not_after: UnixTime::from_nanos(form.not_after),
            renew_at: if unmarked { UnixTime::from_nanos(0) } else { UnixTime::from_nanos(form.renew_at) },
            hint: form.hint.clone(),
            log_index: form.log_index,
            entry_revision: form.entry_revision,
        };
        Some((key, Arc::new(svid)))
    };
    let held = form.held.iter().map(held).collect::<Option<BTreeMap<_, _>>>()?;
    let revocations = match &form.revocations {
        Some(text) => Some(Arc::new(revocations_from_bytes(&bytes(text)?).ok()?)),
        // An earlier release knew of none.
        None => Some(Arc::default()),
    };
    let position = match &form.position {
        Some(form) => Some(Position { epoch: bytes(&form.epoch)?, revision: form.revision }),
        None => None,
    };
    let bundle = Arc::new(bundle);
    let server_state = ServerState { revision: form.revision, position, entries, bundle, policy, revocations };
    Some(Stored { own, server_state, held })
}
