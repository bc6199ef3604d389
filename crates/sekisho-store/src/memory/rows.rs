use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sekisho_identity::{Entry, Node, Revocation, Revoked};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, UnixTime};

use crate::rows::Rows;
use crate::{
    AlertRecord, AuthorityRecord, ChangedId, DeviceRecord, Epoch, EpochRecord, LogMark, Marks, OutboxLeaf,
    PolicyRecord, ServerId, SpoolPosition, StoreError, TokenRecord,
};

/// The state of one trust domain.
#[derive(Default)]
pub(crate) struct Tables {
    pub revision: Revision,
    pub changes_from: Revision,
    pub entries: BTreeMap<EntryId, Arc<Entry>>,
    by_parent: BTreeMap<SpiffeId, BTreeSet<EntryId>>,
    pub nodes: BTreeMap<SpiffeId, Arc<Node>>,
    pub alerts: BTreeMap<String, AlertRecord>,
    pub devices: BTreeMap<Digest, DeviceRecord>,
    pub tokens: BTreeMap<String, TokenRecord>,
    pub authorities: BTreeMap<String, AuthorityRecord>,
    pub policies: BTreeMap<u64, PolicyRecord>,
    pub revocations: BTreeMap<Revoked, Revocation>,
    pub spools: BTreeMap<SpiffeId, BTreeMap<String, SpoolPosition>>,
    pub former_parents: BTreeMap<SpiffeId, BTreeMap<SpiffeId, UnixTime>>,
    pub marks: Marks,
    /// By server.
    pub outbox: BTreeMap<ServerId, VecDeque<OutboxLeaf>>,
    pub last_leaf: i64,
    /// By revision, kind and id.
    pub changed: BTreeMap<ChangedKey, ChangedId>,
    pub epochs: Vec<EpochRecord>,
}

type ChangedKey = (Revision, &'static str, String);

pub(crate) struct MemoryRows<'a> {
    pub tables: &'a mut Tables,
    pub server: &'a ServerId,
}

impl MemoryRows<'_> {
    fn unlink(&mut self, id: &EntryId) {
        let Some(old) = self.tables.entries.remove(id) else { return };
        if let Some(ids) = self.tables.by_parent.get_mut(&old.parent_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.tables.by_parent.remove(&old.parent_id);
            }
        }
    }
}

impl Rows for MemoryRows<'_> {
    fn next_revision(&mut self) -> Result<Revision, StoreError> {
        self.tables.revision.0 += 1;
        Ok(self.tables.revision)
    }

    fn jump(&mut self, beyond: Revision, by: u64) -> Result<Revision, StoreError> {
        self.tables.revision = Revision(self.tables.revision.max(beyond).0.saturating_add(by));
        self.tables.changes_from = self.tables.revision;
        self.tables.changed.clear();
        Ok(self.tables.revision)
    }

    fn entry(&mut self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        Ok(self.tables.entries.get(id).map(|entry| (**entry).clone()))
    }

    fn entries_under(&mut self, parent: &SpiffeId, spiffe_id: &SpiffeId) -> Result<Vec<Entry>, StoreError> {
        let ids = self.tables.by_parent.get(parent).into_iter().flatten();
        let entries = ids.filter_map(|id| self.tables.entries.get(id)).filter(|entry| entry.spiffe_id == *spiffe_id);
        Ok(entries.map(|entry| (**entry).clone()).collect())
    }

    fn child_ids(&mut self, parent: &SpiffeId) -> Result<Vec<EntryId>, StoreError> {
        Ok(self.tables.by_parent.get(parent).into_iter().flatten().cloned().collect())
    }

    fn put_entry(&mut self, entry: &Entry, _revision: Revision) -> Result<(), StoreError> {
        self.unlink(&entry.id);
        self.tables.by_parent.entry(entry.parent_id.clone()).or_default().insert(entry.id.clone());
        self.tables.entries.insert(entry.id.clone(), Arc::new(entry.clone()));
        Ok(())
    }

    fn delete_entry(&mut self, id: &EntryId) -> Result<(), StoreError> {
        self.unlink(id);
        Ok(())
    }

    fn node(&mut self, id: &SpiffeId) -> Result<Option<Node>, StoreError> {
        Ok(self.tables.nodes.get(id).map(|node| (**node).clone()))
    }

    fn put_node(&mut self, node: &Node) -> Result<(), StoreError> {
        self.tables.nodes.insert(node.id.clone(), Arc::new(node.clone()));
        Ok(())
    }

    fn delete_node(&mut self, id: &SpiffeId) -> Result<(), StoreError> {
        self.tables.nodes.remove(id);
        self.tables.spools.remove(id);
        Ok(())
    }

    fn device(&mut self, key: &Digest) -> Result<Option<DeviceRecord>, StoreError> {
        Ok(self.tables.devices.get(key).cloned())
    }

    fn put_device(&mut self, device: &DeviceRecord) -> Result<(), StoreError> {
        self.tables.devices.insert(device.key, device.clone());
        Ok(())
    }

    fn remove_devices_node(&mut self, node: &Node, at: UnixTime) -> Result<(), StoreError> {
        let of_node = self.tables.devices.values_mut().filter(|device| device.node.as_ref() == Some(&node.id));
        for device in of_node {
            device.remembered.clone_from(&node.remembered);
            device.removed_at = at;
        }
        Ok(())
    }

    fn delete_device(&mut self, key: &Digest) -> Result<(), StoreError> {
        self.tables.devices.remove(key);
        Ok(())
    }

    fn waiting_devices(&mut self) -> Result<Vec<DeviceRecord>, StoreError> {
        let all = self.tables.devices.values();
        Ok(all.filter(|device| device.node.is_none() && device.approved_by.is_none()).cloned().collect())
    }

    fn alerts_of(&mut self, agent: &SpiffeId) -> Result<Vec<AlertRecord>, StoreError> {
        Ok(self.tables.alerts.values().filter(|alert| alert.agent == *agent).cloned().collect())
    }

    fn put_alert(&mut self, alert: &AlertRecord) -> Result<(), StoreError> {
        self.tables.alerts.insert(alert.id.clone(), alert.clone());
        Ok(())
    }

    fn delete_alert(&mut self, id: &str) -> Result<(), StoreError> {
        self.tables.alerts.remove(id);
        Ok(())
    }

    fn trim_alerts(&mut self, keep: usize) -> Result<(), StoreError> {
        while self.tables.alerts.len() > keep {
            self.tables.alerts.pop_first();
        }
        Ok(())
    }

    fn token(&mut self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        Ok(self.tables.tokens.get(hash).cloned())
    }

    fn put_token(&mut self, token: &TokenRecord) -> Result<(), StoreError> {
        self.tables.tokens.insert(token.hash.clone(), token.clone());
        Ok(())
    }

    fn delete_token(&mut self, hash: &str) -> Result<(), StoreError> {
        self.tables.tokens.remove(hash);
        Ok(())
    }

    fn delete_tokens(&mut self, before: Option<UnixTime>) -> Result<(), StoreError> {
        self.tables.tokens.retain(|_, token| before.is_some_and(|before| token.expires_at >= before));
        Ok(())
    }

    fn put_authority(&mut self, authority: &AuthorityRecord) -> Result<(), StoreError> {
        self.tables.authorities.insert(authority.id.clone(), authority.clone());
        Ok(())
    }

    fn delete_authority(&mut self, id: &str) -> Result<bool, StoreError> {
        Ok(self.tables.authorities.remove(id).is_some())
    }

    fn policy(&mut self) -> Result<Option<PolicyRecord>, StoreError> {
        Ok(self.tables.policies.values().next_back().cloned())
    }

    fn policy_revision(&mut self) -> Result<Option<u64>, StoreError> {
        Ok(self.tables.policies.keys().next_back().copied())
    }

    fn put_policy(&mut self, policy: &PolicyRecord, keep: usize) -> Result<(), StoreError> {
        self.tables.policies.insert(policy.revision, policy.clone());
        while self.tables.policies.len() > keep {
            self.tables.policies.pop_first();
        }
        Ok(())
    }

    fn revocations(&mut self) -> Result<Vec<Revocation>, StoreError> {
        Ok(self.tables.revocations.values().cloned().collect())
    }

    fn revoked_at(&mut self, what: &Revoked) -> Result<Option<Revision>, StoreError> {
        Ok(self.tables.revocations.get(what).map(|revocation| revocation.revision))
    }

    fn put_revocation(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        let mut revocation = revocation.clone();
        if let Some(earlier) = self.tables.revocations.get(&revocation.what) {
            revocation.until = revocation.until.max(earlier.until);
        }
        self.tables.revocations.insert(revocation.what.clone(), revocation);
        Ok(())
    }

    fn delete_revocations(&mut self, ended_before: UnixTime) -> Result<(), StoreError> {
        self.tables.revocations.retain(|_, revocation| revocation.until >= ended_before);
        Ok(())
    }

    fn spool(&mut self, node: &SpiffeId, spool: &str) -> Result<Option<SpoolPosition>, StoreError> {
        Ok(self.tables.spools.get(node).and_then(|spools| spools.get(spool)).copied())
    }

    fn put_spool(
        &mut self,
        node: &SpiffeId,
        spool: &str,
        position: SpoolPosition,
        keep: usize,
    ) -> Result<(), StoreError> {
        let spools = self.tables.spools.entry(node.clone()).or_default();
        spools.insert(spool.to_owned(), position);
        while spools.len() > keep {
            let Some(oldest) = spools.iter().min_by_key(|(_, at)| at.log_index).map(|(name, _)| name.clone()) else {
                break;
            };
            spools.remove(&oldest);
        }
        Ok(())
    }

    fn put_former_parent(&mut self, id: &SpiffeId, parent: &SpiffeId, until: UnixTime) -> Result<(), StoreError> {
        let until = UnixTime::from_millis(until.millis());
        self.tables.former_parents.entry(id.clone()).or_default().insert(parent.clone(), until);
        Ok(())
    }

    fn delete_former_parents(&mut self, before: UnixTime) -> Result<(), StoreError> {
        self.tables.former_parents.retain(|_, parents| {
            parents.retain(|_, until| *until >= before);
            !parents.is_empty()
        });
        Ok(())
    }

    fn put_retention_mark(&mut self, at: UnixTime) -> Result<(), StoreError> {
        self.tables.marks.retention = Some(UnixTime::from_millis(at.millis()));
        Ok(())
    }

    fn put_log_mark(&mut self, mark: &LogMark) -> Result<(), StoreError> {
        self.tables.marks.log = Some(mark.clone());
        Ok(())
    }

    fn push_leaf(&mut self, leaf: &[u8], side: &[u8]) -> Result<(), StoreError> {
        self.tables.last_leaf += 1;
        let outbox = self.tables.outbox.entry(self.server.clone()).or_default();
        outbox.push_back(OutboxLeaf { sequence: self.tables.last_leaf, leaf: leaf.to_vec(), side: side.to_vec() });
        Ok(())
    }

    fn delete_leaves(&mut self, through: i64) -> Result<(), StoreError> {
        if let Some(outbox) = self.tables.outbox.get_mut(self.server) {
            outbox.retain(|leaf| leaf.sequence > through);
        }
        Ok(())
    }

    fn put_epoch(&mut self, epoch: Epoch, keep: usize) -> Result<(), StoreError> {
        let Tables { epochs, revision, .. } = &mut *self.tables;
        epochs.push(EpochRecord { epoch, from: *revision });
        epochs.drain(..epochs.len().saturating_sub(keep));
        Ok(())
    }

    fn settle_leaves(&mut self, held: &[i64], beyond: i64) -> Result<(), StoreError> {
        let outbox = self.tables.outbox.remove(self.server).unwrap_or_default();
        self.tables.last_leaf = self.tables.last_leaf.max(beyond);
        let mut others = outbox.into_iter().filter(|leaf| !held.contains(&leaf.sequence));
        others.try_for_each(|OutboxLeaf { leaf, side, .. }| self.push_leaf(&leaf, &side))
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_changed(&mut self, revision: Revision, what: &ChangedId) -> Result<(), StoreError> {
        let (kind, id) = crate::changed_form::key(what);
        let key = (revision, kind, id.to_owned());
        match (self.tables.changed.get_mut(&key), what) {
            (
                Some(ChangedId::Entry { parents: known, spiffe_ids: given, .. }),
                ChangedId::Entry { parents, spiffe_ids, .. },
            ) => {
                known.extend(parents.iter().cloned());
                given.extend(spiffe_ids.iter().cloned());
            }
            (Some(_), _) => {}
            (None, _) => drop(self.tables.changed.insert(key, what.clone())),
        }
        Ok(())
    }

    fn trim_changed(&mut self, keep: usize) -> Result<(), StoreError> {
        let Some(beyond) = self.tables.changed.len().checked_sub(keep + 1) else { return Ok(()) };
        let Some(oldest) = self.tables.changed.keys().nth(beyond).map(|(revision, ..)| *revision) else {
            return Ok(());
        };
        self.tables.changed.retain(|(revision, ..), _| *revision > oldest);
        self.tables.changes_from = oldest;
        Ok(())
    }
}
