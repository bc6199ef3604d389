//! The trust domain's authorities: keys, certificates, and the driver of their rotation.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sekisho_identity::{
    Authority, BACKDATE_SECONDS, Bundle, CaPlan, CaRotation, CaTemplate, Issuer, JwtAuthority, ProfileError, Slot,
    assemble_certificate, authority_public_key, ca_tbs, subject_key_id,
};
use sekisho_keys::{KeyError, MemoryKey, load, load_or_create};
use sekisho_ledger::Kind;
use sekisho_runtime::random_bytes;
use sekisho_store::AuthorityRecord;
use sekisho_types::{SignError, SignatureAlgorithm, Signer, TrustDomain, UnixTime};

use crate::domain::Domain;
use crate::journal::{Entry, JournalError};

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

impl From<JournalError> for AuthorityError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
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
        folder: &Path,
        records: Vec<AuthorityRecord>,
    ) -> Result<Self, AuthorityError> {
        let authorities =
            Self { trust_domain: trust_domain.clone(), folder: folder.to_owned(), held: RwLock::default() };
        authorities.replace(records)?;
        Ok(authorities)
    }

    fn replace(&self, records: Vec<AuthorityRecord>) -> Result<(), AuthorityError> {
        let active = records.iter().find(|record| record.slot == "active");
        let signing = active.map(|record| self.signing_of(record)).transpose()?.map(Arc::new);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held { all: records, signing };
        Ok(())
    }

    fn signing_of(&self, record: &AuthorityRecord) -> Result<Signing, AuthorityError> {
        let (x509, jwt) = self.key_files(&record.id);
        let x509_key = load(&x509, SignatureAlgorithm::EcdsaP256Sha256)?;
        let jwt_key = load(&jwt, SignatureAlgorithm::EcdsaP256Sha256)?;
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
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut bundle = Bundle::empty(self.trust_domain.clone());
        bundle.sequence = Some(sequence);
        bundle.refresh_hint_seconds = Some(300);
        let mut records: Vec<_> = held.all.iter().collect();
        records.sort_by_key(|record| (record.slot != "active", record.not_before));
        for record in records {
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

    fn rotation(&self) -> CaRotation {
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
        CaRotation { authorities: held.all.iter().map(authority).collect() }
    }

    /// Makes a new authority's keys and certificate, not yet known to anybody.
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

/// Carries out what rotation asks for, until it asks to wait; returns until when. Each step is one write batch with
/// its leaf, so that a crash leaves either all of it or nothing.
pub(crate) async fn rotate(domain: &Domain, now: UnixTime) -> Result<UnixTime, AuthorityError> {
    loop {
        let mut rotation = domain.authorities.rotation();
        let plan = rotation.plan(now);
        let entry = Entry::new(domain, Kind::KeyEvent);
        let (changed, removed, entry) = match plan {
            CaPlan::Wait(until) => return Ok(until),
            CaPlan::Create(slot) => {
                let record = domain.authorities.create(slot, domain.settings.ca_ttl_seconds, now)?;
                let entry = entry.text("event", "created").text("slot", slot_name(slot)).text("authority", &record.id);
                let entry = entry
                    .text("key_id", key_id(&record.jwt_public_key)?)
                    .integer("not_after", record.not_after.seconds());
                (vec![record], None, entry)
            }
            CaPlan::Activate(id) => {
                rotation.activate(&id);
                let records = domain.authorities.held.read().unwrap_or_else(PoisonError::into_inner).all.clone();
                let longest = i64::from(domain.settings.x509_ttl_seconds.max(86_400));
                let changed = records.into_iter().filter_map(|mut record| {
                    let slot = rotation.authorities.iter().find(|a| a.id == record.id)?.slot;
                    let before = std::mem::replace(&mut record.slot, slot_name(slot).to_owned());
                    if slot == Slot::Old {
                        record.signed_until = record.signed_until.min(now.plus_seconds(longest));
                    }
                    (before != record.slot).then_some(record)
                });
                (changed.collect(), None, entry.text("event", "activated").text("authority", id))
            }
            CaPlan::Remove(id) => (vec![], Some(id.clone()), entry.text("event", "removed").text("authority", id)),
        };
        let gone = removed.clone();
        let written: Result<_, JournalError> = domain
            .store
            .write(&domain.name, move |batch| {
                changed.iter().try_for_each(|record| batch.put_authority(record))?;
                removed.iter().try_for_each(|id| batch.remove_authority(id).map(|_| ()))?;
                entry.with_change(batch)?;
                Ok(batch.revision()?)
            })
            .await;
        let revision = written?;
        let records = domain.store.read(|reader| reader.authorities(&domain.name));
        domain.authorities.replace(records.map_err(JournalError::from)?)?;
        domain.view.set_bundle(domain.authorities.bundle(revision.0)?);
        let _nobody_listens = domain.changes.send(());
        if let Some(id) = gone {
            let (x509, jwt) = domain.authorities.key_files(&id);
            sekisho_keys::remove(&x509)?;
            sekisho_keys::remove(&jwt)?;
        }
    }
}
