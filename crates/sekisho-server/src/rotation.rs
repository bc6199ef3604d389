//! Drives the rotation of authorities: what their plan asks for, one write batch and one leaf at a time.

use sekisho_events::AuthorityRemoved;
use sekisho_identity::CaPlan;
use sekisho_store::{Item, Write};
use sekisho_types::UnixTime;

use crate::authorities::{AuthorityError, Step};
use crate::domain::Domain;
use crate::drain::drain_outbox;
use crate::journal::JournalError;

impl From<JournalError> for AuthorityError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.to_string())
    }
}

/// Carries out what rotation asks for, until it asks to wait; returns until when. Each step is one write batch with
/// its leaf, so that a crash leaves either all of it or nothing.
pub(crate) async fn rotate(domain: &Domain, now: UnixTime) -> Result<UnixTime, AuthorityError> {
    let authorities = &domain.identity.authorities;
    loop {
        // A key signs, and an authority is published, when the log says so: also after a step that failed half way.
        drain_outbox(domain).await?;
        follow(domain).await?;
        let believed = domain.watch.trusted_time.time(now).min(now);
        let stamp = domain.journal().stamp();
        let step = match authorities.rotation().plan(now, believed) {
            CaPlan::Wait(until) => {
                if let Err(error) = authorities.retire_keys(believed) {
                    tracing::error!(%error, "keys that are out of use were not moved away");
                }
                return Ok(until);
            }
            CaPlan::Create(slot) => authorities.creation(slot, domain.settings.ca_ttl_seconds, now)?,
            CaPlan::Activate(id) => {
                let longest = i64::from(domain.settings.x509_ttl_seconds.max(86_400));
                authorities.activation(&id, now.plus_seconds(longest))?
            }
            CaPlan::Remove(id) => {
                let event = AuthorityRemoved { authority: id.clone() }.into();
                Step { changed: vec![], removed: Some(id), event }
            }
        };
        let put = step.changed.into_iter().map(|record| Write::PutAuthority(Box::new(record)));
        let writes = put.chain(step.removed.map(Write::RemoveAuthority));
        let item = writes.fold(Item::default().record(stamp.leaf(step.event)), Item::write);
        domain.writer().write::<JournalError>(item).await?;
    }
}

/// Follows the database, and publishes what has changed.
async fn follow(domain: &Domain) -> Result<(), AuthorityError> {
    let authorities = &domain.identity.authorities;
    let (revision, records) = domain.store.authorities(&domain.identity.name).await.map_err(JournalError::from)?;
    if authorities.are(&records) {
        return Ok(());
    }
    let taken = authorities.take(records);
    // Also if the key cannot be read: what exists is published.
    domain.streams.delivery.publish(authorities.bundle(revision.0)?);
    taken
}
