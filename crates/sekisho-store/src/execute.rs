//! What a batch does: conditions first, then its writes, each with what it changes for others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sekisho_events::Encoded;
use sekisho_identity::{Entry, Node, Revocation, Revoked};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, UnixTime};

use crate::rows::Rows;
use crate::{
    AlertRecord, Batch, Change, ChangedId, Committed, Conflict, Delta, DeviceRecord, EntryVersion, Expect, Item,
    ServerId, StoreError, Write,
};

/// How far revisions jump: further than any that was given out since an older state was copied.
pub(crate) const JUMP: u64 = 1 << 32;
/// Spools of one node whose position is remembered: one for each sidecar, and those of earlier ones.
const SPOOLS_PER_NODE: usize = 4096;
/// Changes that are kept for readers that were away: some hours of a busy trust domain.
const KEPT_CHANGES: usize = 100_000;
/// Trimmed after about so many new ones: it looks at all of them.
const TRIM_EVERY: u64 = 8192;
/// Runs of servers that are known to readers which were away.
const KEPT_EPOCHS: usize = 256;
/// Revocations are kept this much longer than they hold, for clocks that differ.
const REVOCATION_GRACE_SECONDS: i64 = 3600;

/// Runs a batch. An error leaves rows half written: the caller takes the transaction back.
pub(crate) fn execute(rows: &mut impl Rows, server: &ServerId, batch: Batch) -> Result<(Committed, Delta), StoreError> {
    let mut run = Run { rows, server, revision: None, changes: vec![], leaves: 0, read: None };
    let outcomes = batch.items.into_iter().map(|item| run.item(item)).collect::<Result<Vec<_>, _>>()?;
    let period = (TRIM_EVERY / (run.changes.len() as u64).max(1)).max(1);
    if run.revision.is_some_and(|revision| revision.0.is_multiple_of(period)) {
        run.rows.trim_changed(KEPT_CHANGES)?;
    }
    let Run { revision, changes, leaves, .. } = run;
    let delta = Delta { trust_domain: batch.trust_domain, revision, changes, leaves };
    Ok((Committed { revision, outcomes }, delta))
}

struct Run<'a, R> {
    rows: &'a mut R,
    server: &'a ServerId,
    revision: Option<Revision>,
    changes: Vec<Change>,
    leaves: u32,
    /// The entry that this item has looked at last.
    read: Option<(EntryId, Option<Entry>)>,
}

impl<R: Rows> Run<'_, R> {
    fn item(&mut self, item: Item) -> Result<Result<(), Conflict>, StoreError> {
        self.read = None;
        for expect in &item.expects {
            if let Some(conflict) = self.conflict(expect)? {
                return Ok(Err(conflict));
            }
        }
        for write in &item.writes {
            if let Write::JumpBeyond { floor, since } = write {
                self.jump(*floor, *since)?;
            }
        }
        // Before anything else is written: a leaf that cannot be encoded keeps its change out.
        let mut leaves: Vec<Encoded> = Vec::with_capacity(item.leaves.len());
        for leaf in item.leaves {
            // A database that does not know this revision is an older one.
            match leaf.at_state(self.revision()?).encode() {
                Ok(encoded) => leaves.push(encoded),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        item.writes.into_iter().try_for_each(|write| self.write(write))?;
        for Encoded { leaf, side } in leaves {
            self.rows.push_leaf(&leaf, &side)?;
            self.leaves += 1;
        }
        Ok(Ok(()))
    }

    /// The revision of this batch: the next one of its trust domain, taken on first use.
    fn revision(&mut self) -> Result<Revision, StoreError> {
        if let Some(revision) = self.revision {
            return Ok(revision);
        }
        let next = self.rows.next_revision()?;
        self.revision = Some(next);
        Ok(next)
    }

    fn entry(&mut self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        match self.read.take() {
            Some((read, entry)) if read == *id => Ok(entry),
            _ => self.rows.entry(id),
        }
    }

    fn conflict(&mut self, expect: &Expect) -> Result<Option<Conflict>, StoreError> {
        let (holds, conflict) = match expect {
            Expect::NoEntry(id) => {
                let found = self.rows.entry(id)?;
                let holds = found.is_none();
                self.read = Some((id.clone(), found));
                (holds, Conflict::EntryExists(id.clone()))
            }
            Expect::Entry(version) => {
                let found = self.rows.entry(&version.id)?;
                let holds = found.as_ref().is_some_and(|entry| EntryVersion::of(entry) == *version);
                self.read = Some((version.id.clone(), found));
                (holds, Conflict::EntryChanged(version.id.clone()))
            }
            Expect::Unregistered(entry) => return self.registered(entry),
            Expect::Children { parent, ids } => {
                let found: BTreeSet<EntryId> = self.rows.child_ids(parent)?.into_iter().collect();
                (found == *ids, Conflict::ChildrenChanged(parent.clone()))
            }
            Expect::Node { id, is } => {
                (self.rows.node(id)?.as_ref() == is.as_deref(), Conflict::NodeChanged(id.clone()))
            }
            Expect::Standing { agent, serial } => {
                let standing = Node::standing(self.rows.node(agent)?.as_ref(), serial);
                let conflict = Conflict::Standing { agent: agent.clone(), standing };
                (standing == sekisho_identity::Standing::Good, conflict)
            }
            Expect::Operator { entry, revocable, judged_at } => {
                let stands = self.rows.entry(&entry.id)?.is_some_and(|found| EntryVersion::of(&found) == *entry);
                (stands && !self.is_revoked(revocable, *judged_at)?, Conflict::OperatorChanged)
            }
            Expect::Device { key, node, since, approved } => match self.rows.device(key)? {
                Some(device) if device.node.as_ref().is_some_and(|bound| bound != node) => {
                    (false, Conflict::DeviceTaken(*key))
                }
                Some(device) if device.removed_at.millis() >= since.millis().max(1) => {
                    (false, Conflict::DeviceRemoved(*key))
                }
                known => {
                    let is_approved = known.is_some_and(|device| device.approved_by.is_some());
                    (is_approved || !*approved, Conflict::DeviceNotApproved(*key))
                }
            },
            Expect::Token { hash, at } => {
                (self.rows.token(hash)?.is_some_and(|token| token.expires_at > *at), Conflict::Token)
            }
            Expect::NoToken(hash) => (self.rows.token(hash)?.is_none(), Conflict::TokenExists),
            Expect::Policy(revision) => (self.rows.policy_revision()? == *revision, Conflict::PolicyChanged),
            Expect::Spool { node, spool, is } => (self.rows.spool(node, spool)? == *is, Conflict::SpoolMoved),
        };
        Ok((!holds).then_some(conflict))
    }

    /// Whether one of these was revoked since.
    fn is_revoked(&mut self, revocable: &[Revoked], since: Revision) -> Result<bool, StoreError> {
        for what in revocable {
            if self.rows.revoked_at(what)?.is_some_and(|revision| revision > since) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn registered(&mut self, entry: &Entry) -> Result<Option<Conflict>, StoreError> {
        let known = self.rows.entries_under(&entry.parent_id, &entry.spiffe_id)?;
        let same = known.into_iter().find(|known| known.id != entry.id && known.same_registration(entry));
        Ok(same.map(|same| Conflict::Registered(Arc::new(same))))
    }

    fn write(&mut self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::PutEntry(entry) => self.put_entry(entry),
            Write::RemoveEntry(id) => self.remove_entry(id),
            Write::PutNode(node) => {
                self.changed(&ChangedId::Node(node.id.clone()))?;
                self.store_node(node)
            }
            Write::RenewNode { id, serial, previous_serial, expires_at } => {
                self.alter_node(&id, |node| Node { serial, previous_serial, expires_at, ..node })
            }
            Write::NodeVersion { id, version } => self.alter_node(&id, |node| Node { version, ..node }),
            Write::NodeState(node) => self.store_node(node),
            Write::RemoveNode { id, at } => self.remove_node(id, at),
            Write::BindDevice { key, node, about, at } => self.bind_device(key, node, about, at),
            Write::SeeDevice { key, about, network, at, keep } => {
                self.see_device(key, about, network, at)?;
                self.trim_waiting(keep)
            }
            Write::ApproveDevice { key, by, at } => self.approve_device(key, by, at),
            Write::PutAlert { alert, keep, keep_of_agent } => {
                self.put_alert(alert, keep_of_agent)?;
                self.rows.trim_alerts(keep)
            }
            Write::PutToken(token) => self.rows.put_token(&token),
            Write::SpendToken(hash) => {
                self.revision()?;
                self.rows.delete_token(&hash)
            }
            Write::RemoveToken(hash) => self.rows.delete_token(&hash),
            Write::RemoveAllTokens => self.rows.delete_tokens(None),
            Write::RemoveTokensBefore(time) => self.rows.delete_tokens(Some(time)),
            Write::PutAuthority(mut authority) => {
                authority.server = self.server.clone();
                self.changed(&ChangedId::Authority(authority.id.clone()))?;
                self.changes.push(Change::Authorities);
                self.rows.put_authority(&authority)
            }
            Write::RemoveAuthority(id) => {
                if self.rows.delete_authority(&id)? {
                    self.changed(&ChangedId::Authority(id))?;
                    self.changes.push(Change::Authorities);
                }
                Ok(())
            }
            Write::PutPolicy { mut policy, keep } => {
                self.changed(&ChangedId::Policy)?;
                policy.revision = self.rows.policy_revision()?.unwrap_or(0) + 1;
                self.rows.put_policy(&policy, keep)?;
                self.changes.push(Change::Policy(Arc::new(policy)));
                Ok(())
            }
            Write::Revoke { what, reason, at, until } => {
                let revision = self.revision()?;
                self.put_revocation(Revocation { what, revision, at, until, reason })?;
                self.rows.delete_revocations(at.plus_seconds(-REVOCATION_GRACE_SECONDS))
            }
            Write::PutSpool { node, spool, position } => self.rows.put_spool(&node, &spool, position, SPOOLS_PER_NODE),
            Write::PutFormerParent { id, parent, until } => self.rows.put_former_parent(&id, &parent, until),
            Write::RemoveFormerParentsBefore(time) => self.rows.delete_former_parents(time),
            Write::MarkRetention(at) => self.rows.put_retention_mark(at),
            Write::MarkLog(mark) => self.rows.put_log_mark(&mark),
            Write::BeginEpoch(epoch) => self.rows.put_epoch(epoch, KEPT_EPOCHS),
            Write::Drained(through) => self.rows.delete_leaves(through),
            Write::SettleOutbox { held, beyond } => self.rows.settle_leaves(&held, beyond),
            Write::Probe => self.rows.probe(),
            // Before the item's leaves, which stand at its revision.
            Write::JumpBeyond { .. } => Ok(()),
        }
    }

    /// Who vouches for it now took part: an operator, or an authority that was configured since.
    fn bind_device(&mut self, key: Digest, node: SpiffeId, about: String, seen_at: UnixTime) -> Result<(), StoreError> {
        let known = self.rows.device(&key)?.unwrap_or_else(|| DeviceRecord::unseen(key));
        let (node, network, revoked_at) = (Some(node), String::new(), UnixTime::default());
        self.rows.put_device(&DeviceRecord { node, about, network, seen_at, revoked_at, ..known })
    }

    /// It stays the node that it is, if it is one.
    fn see_device(&mut self, key: Digest, about: String, network: String, seen_at: UnixTime) -> Result<(), StoreError> {
        let known = self.rows.device(&key)?.unwrap_or_else(|| DeviceRecord::unseen(key));
        self.rows.put_device(&DeviceRecord { about, network, seen_at, ..known })
    }

    /// A network in which many devices are made up takes the place of its own, and not of others.
    fn trim_waiting(&mut self, keep: usize) -> Result<(), StoreError> {
        let mut waiting = self.rows.waiting_devices()?;
        waiting.sort_unstable_by_key(|device| (device.seen_at.millis(), device.key));
        let mut of_network = BTreeMap::<String, usize>::new();
        for device in &waiting {
            *of_network.entry(device.network.clone()).or_default() += 1;
        }
        while waiting.len() > keep {
            let most = of_network.values().max().copied().unwrap_or_default();
            let oldest = waiting.iter().position(|device| of_network.get(&device.network) == Some(&most));
            let gone = waiting.remove(oldest.unwrap_or_default());
            of_network.entry(gone.network).and_modify(|number| *number -= 1).or_default();
            self.rows.delete_device(&gone.key)?;
        }
        Ok(())
    }

    /// Of the agent's alerts only the newest stay; the oldest of those counts the others.
    fn put_alert(&mut self, alert: AlertRecord, keep: usize) -> Result<(), StoreError> {
        let mut all = self.rows.alerts_of(&alert.agent)?;
        all.retain(|known| known.id != alert.id);
        self.rows.put_alert(&alert)?;
        all.push(alert);
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let kept = all.split_off(all.len().saturating_sub(keep.max(1)));
        let Some(oldest) = kept.into_iter().next().filter(|_| !all.is_empty()) else { return Ok(()) };
        all.iter().try_for_each(|gone| self.rows.delete_alert(&gone.id))?;
        let gone: u64 = all.iter().map(|gone| gone.earlier.saturating_add(1)).sum();
        self.rows.put_alert(&AlertRecord { earlier: oldest.earlier.saturating_add(gone), ..oldest })
    }

    fn approve_device(&mut self, key: Digest, by: Option<String>, at: UnixTime) -> Result<(), StoreError> {
        let known = self.rows.device(&key)?.unwrap_or_else(|| DeviceRecord::unseen(key));
        let revoked_at = if by.is_none() { at } else { UnixTime::default() };
        let device = DeviceRecord { approved_by: by, revoked_at, ..known };
        // One that is a node stays that node.
        if device.approved_by.is_none() && device.node.is_none() {
            return self.rows.delete_device(&device.key);
        }
        self.rows.put_device(&device)
    }

    /// Notes what changed, for those who come back later, under this batch's revision.
    fn changed(&mut self, what: &ChangedId) -> Result<Revision, StoreError> {
        let revision = self.revision()?;
        self.rows.put_changed(revision, what)?;
        Ok(revision)
    }

    fn put_entry(&mut self, entry: Arc<Entry>) -> Result<(), StoreError> {
        let (mut parents, mut spiffe_ids) = (vec![entry.parent_id.clone()], vec![entry.spiffe_id.clone()]);
        if let Some(before) = self.entry(&entry.id)? {
            parents.extend(Some(before.parent_id).filter(|parent| *parent != entry.parent_id));
            spiffe_ids.extend(Some(before.spiffe_id).filter(|id| *id != entry.spiffe_id));
        }
        let revision = self.changed(&ChangedId::Entry { id: entry.id.clone(), parents, spiffe_ids })?;
        self.rows.put_entry(&entry, revision)?;
        self.changes.push(Change::Entry(entry));
        Ok(())
    }

    fn remove_entry(&mut self, id: EntryId) -> Result<(), StoreError> {
        let Some(before) = self.entry(&id)? else { return Ok(()) };
        let (parents, spiffe_ids) = (vec![before.parent_id], vec![before.spiffe_id]);
        self.changed(&ChangedId::Entry { id: id.clone(), parents, spiffe_ids })?;
        self.rows.delete_entry(&id)?;
        self.changes.push(Change::EntryRemoved(id));
        Ok(())
    }

    fn alter_node(&mut self, id: &SpiffeId, change: impl FnOnce(Node) -> Node) -> Result<(), StoreError> {
        match self.rows.node(id)? {
            Some(node) => self.store_node(Arc::new(change(node))),
            None => Ok(()),
        }
    }

    fn store_node(&mut self, node: Arc<Node>) -> Result<(), StoreError> {
        self.rows.put_node(&node)?;
        self.changes.push(Change::Node(node));
        Ok(())
    }

    fn remove_node(&mut self, id: SpiffeId, at: UnixTime) -> Result<(), StoreError> {
        if let Some(node) = self.rows.node(&id)? {
            self.changed(&ChangedId::Node(id.clone()))?;
            self.rows.remove_devices_node(&node, at)?;
            self.rows.delete_node(&id)?;
            self.changes.push(Change::NodeRemoved(id));
        }
        Ok(())
    }

    fn put_revocation(&mut self, revocation: Revocation) -> Result<(), StoreError> {
        self.changed(&ChangedId::Revocation)?;
        self.rows.put_revocation(&revocation)?;
        self.changes.push(Change::Revoked(Arc::new(revocation)));
        Ok(())
    }

    fn jump(&mut self, floor: Revision, since: Revision) -> Result<(), StoreError> {
        let next = self.rows.jump(floor, JUMP)?;
        self.revision = Some(next);
        if let Some(mut policy) = self.rows.policy()? {
            policy.revision = next.0;
            self.changed(&ChangedId::Policy)?;
            self.rows.put_policy(&policy, usize::MAX)?;
            self.changes.push(Change::Policy(Arc::new(policy)));
        }
        for mut revocation in self.rows.revocations()?.into_iter().filter(|one| one.revision > since) {
            revocation.revision = next;
            self.put_revocation(revocation)?;
        }
        Ok(())
    }
}
