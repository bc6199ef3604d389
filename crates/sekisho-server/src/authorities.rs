//! The trust domain's authorities: keys, certificates, and the steps of their rotation.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sekisho_events::{AuthorityActivated, AuthorityCreated, Event};
use sekisho_identity::{
    Authority, BACKDATE_SECONDS, Bundle, CaRotation, CaTemplate, Issuer, JwtAuthority, ProfileError, Slot,
    assemble_certificate, authority_public_key, ca_tbs, subject_key_id,
};
use sekisho_keys::{KeyError, MemoryKey, load, load_or_create, park, unlink_parked, unpark};
use sekisho_runtime::random_bytes;
use sekisho_store::{AuthorityRecord, ServerId};
use sekisho_types::{SignError, SignatureAlgorithm, Signer, TrustDomain, UnixTime};

/// How long the keys of an authority that was removed stay on disk, by the time that is believed.
const PARKED_SECONDS: i64 = 7 * 24 * 3600;

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("{0}")]
    Journal(String),
    #[error("no authority can sign now")]
    None,
}

/// An authority that can sign.
pub(crate) struct Signing {
    pub record: AuthorityRecord,
    pub issuer: Issuer,
    pub x509_key: MemoryKey,
    pub jwt_key: MemoryKey,
    pub jwt_key_id: String,
}

pub(crate) struct Authorities {
    trust_domain: TrustDomain,
    /// Of the authorities that share the state, only this server's sign here, and only they are rotated.
    server: ServerId,
    folder: PathBuf,
    held: RwLock<Held>,
}

#[derive(Default)]
struct Held {
    all: Vec<AuthorityRecord>,
    signing: Option<Arc<Signing>>,
}

impl Authorities {
    pub(crate) fn load(
        trust_domain: &TrustDomain,
        server: &ServerId,
        folder: &Path,
        records: Vec<AuthorityRecord>,
    ) -> Result<Self, AuthorityError> {
        let (trust_domain, server, folder) = (trust_domain.clone(), server.clone(), folder.to_owned());
        let authorities = Self { trust_domain, server, folder, held: RwLock::default() };
        authorities.take(records)?;
        Ok(authorities)
    }

    /// Takes the authorities as they are in the database. What exists is known from then on even if the signing key
    /// cannot be read, so that a rotation that fails makes no further authority each time. A key in use is not read
    /// again.
    pub(crate) fn take(&self, records: Vec<AuthorityRecord>) -> Result<(), AuthorityError> {
        let active = self.active_of(&records).cloned();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.all = records;
        match (active, &held.signing) {
            (Some(active), Some(signing)) if signing.record.id == active.id => {}
            (Some(active), _) => held.signing = Some(Arc::new(self.signing_of(&active)?)),
            (None, _) => held.signing = None,
        }
        Ok(())
    }

    /// Whether these are the authorities that are known, and the one that signs.
    pub(crate) fn are(&self, records: &[AuthorityRecord]) -> bool {
        let active = self.active_of(records).map(|record| &record.id);
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.all == records && held.signing.as_ref().map(|signing| &signing.record.id) == active
    }

    fn active_of<'a>(&self, records: &'a [AuthorityRecord]) -> Option<&'a AuthorityRecord> {
        records.iter().find(|record| record.server == self.server && record.slot == "active")
    }

    /// Whether an authority is still in the state.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).all.iter().any(|record| record.id == id)
    }

    /// The authorities and where each stands, active ones first.
    pub(crate) fn all(&self) -> Vec<AuthorityRecord> {
        let mut all = self.held.read().unwrap_or_else(PoisonError::into_inner).all.clone();
        all.sort_by_key(|record| (record.slot != "active", record.not_before));
        all
    }

    fn signing_of(&self, record: &AuthorityRecord) -> Result<Signing, AuthorityError> {
        let (x509, jwt) = self.key_files(&record.id);
        let (x509_key, jwt_key) = (key(&x509)?, key(&jwt)?);
        let jwt_key_id = key_id(&record.jwt_public_key)?;
        let certified = authority_public_key(&record.certificate);
        let fits = certified.is_some_and(|key| key == x509_key.public_key_der());
        if !fits || jwt_key.public_key_der() != record.jwt_public_key {
            return Err(AuthorityError::Journal(format!(
                "the key files of authority {} are not those that the database names",
                record.id
            )));
        }
        let issuer = Issuer::of(&CaTemplate {
            trust_domain: &self.trust_domain,
            serial: record.serial,
            not_before: record.not_before,
            not_after: record.not_after,
            public_key: x509_key.public_key_der(),
        })?;
        Ok(Signing { record: record.clone(), issuer, x509_key, jwt_key, jwt_key_id })
    }

    fn key_files(&self, id: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("{id}.x509.key")), self.folder.join(format!("{id}.jwt.key")))
    }

    pub(crate) fn signing(&self) -> Result<Arc<Signing>, AuthorityError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.signing.clone().ok_or(AuthorityError::None)
    }

    /// The certificates of all authorities, for the chain that a server shows at first contact.
    pub(crate) fn active_certificate(&self) -> Option<Vec<u8>> {
        self.signing().ok().map(|signing| signing.record.certificate.clone())
    }

    pub(crate) fn bundle(&self, sequence: u64) -> Result<Bundle, AuthorityError> {
        let mut bundle = Bundle::empty(self.trust_domain.clone());
        bundle.sequence = Some(sequence);
        bundle.refresh_hint_seconds = Some(300);
        for record in self.all() {
            bundle.add_x509(record.certificate.clone()).map_err(|e| AuthorityError::Journal(e.to_string()))?;
            bundle.jwt_authorities.push(JwtAuthority {
                key_id: key_id(&record.jwt_public_key)?,
                public_key: record.jwt_public_key.clone(),
                expires_at: Some(record.not_after),
                tainted: false,
            });
        }
        Ok(bundle)
    }

    /// This server's authorities, for their plan.
    pub(crate) fn rotation(&self) -> CaRotation {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let authority = |record: &AuthorityRecord| Authority {
            id: record.id.clone(),
            slot: match record.slot.as_str() {
                "active" => Slot::Active,
                "prepared" => Slot::Prepared,
                _ => Slot::Old,
            },
            not_before: record.not_before,
            not_after: record.not_after,
            signed_until: record.signed_until,
        };
        let own = held.all.iter().filter(|record| record.server == self.server);
        CaRotation { authorities: own.map(authority).collect() }
    }

    /// Makes a new authority's keys and certificate, which are not published yet.
    fn create(&self, slot: Slot, ttl_seconds: u32, now: UnixTime) -> Result<AuthorityRecord, AuthorityError> {
        let mut serial = random_bytes::<16>();
        if let Some(first) = serial.first_mut() {
            // Positive, and of full length (RFC 5280 §4.1.2.2).
            *first = (*first & 0x7f) | 0x40;
        }
        let id = hex::encode(serial);
        let (x509, jwt) = self.key_files(&id);
        let key = load_or_create(&x509, SignatureAlgorithm::EcdsaP256Sha256)?;
        let jwt_key = load_or_create(&jwt, SignatureAlgorithm::EcdsaP256Sha256)?;
        let not_before = now.plus_seconds(-BACKDATE_SECONDS);
        let not_after = now.plus_seconds(i64::from(ttl_seconds));
        let template = CaTemplate {
            trust_domain: &self.trust_domain,
            serial,
            not_before,
            not_after,
            public_key: key.public_key_der(),
        };
        let tbs = ca_tbs(&template)?;
        let certificate = assemble_certificate(&tbs, key.algorithm(), &key.sign(&tbs)?)?;
        Ok(AuthorityRecord {
            id,
            server: self.server.clone(),
            slot: slot_name(slot).to_owned(),
            not_before,
            not_after,
            // Nothing that it signs outlives it, and it may sign until it ends.
            signed_until: not_after,
            certificate,
            serial,
            jwt_public_key: jwt_key.public_key_der().to_vec(),
        })
    }
}

/// A key file; one that was parked comes back.
fn key(path: &Path) -> Result<MemoryKey, KeyError> {
    if !path.exists() {
        unpark(path)?;
    }
    load(path, SignatureAlgorithm::EcdsaP256Sha256)
}

const fn slot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::Prepared => "prepared",
        Slot::Active => "active",
        Slot::Old => "old",
    }
}

fn key_id(public_key: &[u8]) -> Result<String, AuthorityError> {
    Ok(hex::encode(subject_key_id(public_key)?))
}

/// One step of a rotation: what it changes in the database, and its leaf.
pub(crate) struct Step {
    pub changed: Vec<AuthorityRecord>,
    pub removed: Option<String>,
    pub event: Event,
}

impl Authorities {
    pub(crate) fn creation(&self, slot: Slot, ttl_seconds: u32, now: UnixTime) -> Result<Step, AuthorityError> {
        let record = self.create(slot, ttl_seconds, now)?;
        let created = AuthorityCreated {
            authority: record.id.clone(),
            key_id: key_id(&record.jwt_public_key)?,
            not_after: record.not_after,
            slot,
        };
        Ok(Step { changed: vec![record], removed: None, event: created.into() })
    }

    /// `rests_until` is when nothing that the active authority has signed is valid any more.
    pub(crate) fn activation(&self, id: &str, rests_until: UnixTime) -> Result<Step, AuthorityError> {
        let records = self.all();
        // Before it may sign: an authority whose keys cannot be read changes nothing.
        if let Some(record) = records.iter().find(|record| record.id == id) {
            self.signing_of(record)?;
        }
        let mut rotation = self.rotation();
        rotation.activate(id);
        let changed = records.into_iter().filter_map(|mut record| {
            let slot = rotation.authorities.iter().find(|authority| authority.id == record.id)?.slot;
            let before = std::mem::replace(&mut record.slot, slot_name(slot).to_owned());
            record.signed_until = match slot {
                Slot::Old => record.signed_until.min(rests_until),
                Slot::Prepared | Slot::Active => record.not_after,
            };
            (before != record.slot).then_some(record)
        });
        let event = AuthorityActivated { authority: id.to_owned() }.into();
        Ok(Step { changed: changed.collect(), removed: None, event })
    }

    /// Parks the keys of authorities that were removed, and those that a failed creation left. Unlinks parked keys
    /// whose time has passed; a clock that is not believed unlinks nothing.
    pub(crate) fn retire_keys(&self, believed: UnixTime) -> Result<(), KeyError> {
        let error = |source| KeyError::File { path: self.folder.display().to_string(), source };
        for item in std::fs::read_dir(&self.folder).map_err(error)? {
            let path = item.map_err(error)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let id = name.strip_suffix(".x509.key").or_else(|| name.strip_suffix(".jwt.key"));
            if id.is_some_and(|id| !self.holds(id)) {
                park(&path, believed.plus_seconds(PARKED_SECONDS))?;
            }
        }
        match unlink_parked(&self.folder, believed)? {
            0 => {}
            gone => tracing::info!(gone, "key files of authorities that expired more than a week ago were unlinked"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sekisho_identity::CaPlan;

    use super::*;

    fn now() -> UnixTime {
        UnixTime::from_seconds(1_800_000_000)
    }

    fn of(server: &str, folder: &Path, records: &[AuthorityRecord]) -> Authorities {
        let name = TrustDomain::parse("example.org").unwrap();
        Authorities::load(&name, &ServerId::new(server), folder, records.to_vec()).unwrap()
    }

    /// An authority that this server made and that signs.
    fn active(server: &str, folder: &Path, at: UnixTime) -> AuthorityRecord {
        of(server, folder, &[]).creation(Slot::Active, 3600, at).unwrap().changed.remove(0)
    }

    #[test]
    fn rotation_changes_only_its_own_servers_authorities() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ended = now().plus_seconds(-100_000);
        // That of the other server comes first, and its keys are not here.
        let records = [active("two", other.path(), now()), active("one", own.path(), now())];
        let one = of("one", own.path(), &records);
        assert_eq!(one.signing().unwrap().record.id, records[1].id);
        assert_eq!(one.rotation().authorities.len(), 1);
        assert_eq!(one.bundle(1).unwrap().x509_authorities.len(), 2, "what another server signs is trusted");
        assert!(one.are(&records));

        // An old one of the other server's is removed by the other, and one that signs there is none that signs here.
        let mut gone = active("two", other.path(), ended);
        gone.slot = "old".into();
        let one = of("one", own.path(), &[records[1].clone(), gone.clone()]);
        assert!(matches!(one.rotation().plan(now(), now()), CaPlan::Wait(_)));
        let two = of("two", other.path(), &[records[0].clone(), gone.clone()]);
        assert_eq!(two.rotation().plan(now(), now()), CaPlan::Remove(gone.id));
        let one = of("one", own.path(), &records[..1]);
        assert!(matches!(one.signing(), Err(AuthorityError::None)));
        assert_eq!(one.rotation().plan(now(), now()), CaPlan::Create(Slot::Active));
        let made = one.creation(Slot::Active, 3600, now()).unwrap();
        assert_eq!(made.changed[0].server, ServerId::new("one"));
    }
}
