use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use sekisho_identity::{Entry, Node, Revocation};
use sekisho_types::{EntryId, Revision, SpiffeId, TrustDomain, UnixTime};

use crate::{AuthorityRecord, LogMark, PolicyRecord, SpoolPosition, StoreError, TokenUse, form};

/// Spools of one node whose position is remembered: one a sidecar, and those of earlier ones.
const SPOOLS_PER_NODE: u64 = 4096;

/// What a committed batch changed, for those who keep a view of the state.
#[derive(Debug, Clone)]
pub enum Change {
    Entry(Arc<Entry>),
    EntryRemoved(EntryId),
    Node(Box<Node>),
    NodeRemoved(SpiffeId),
    Authorities,
    Policy(Arc<PolicyRecord>),
    Revoked(Arc<Revocation>),
}

/// One write batch of one trust domain: all of it is committed, or nothing.
pub struct Batch<'a> {
    connection: &'a Connection,
    trust_domain: &'a TrustDomain,
    revision: Option<Revision>,
    pub(crate) changes: Vec<Change>,
    /// Whether a leaf waits in the outbox because of this batch.
    pub(crate) has_leaf: bool,
}

impl<'a> Batch<'a> {
    pub(crate) const fn new(connection: &'a Connection, trust_domain: &'a TrustDomain) -> Self {
        Self { connection, trust_domain, revision: None, changes: vec![], has_leaf: false }
    }

    pub(crate) const fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub(crate) const fn trust_domain(&self) -> &'a TrustDomain {
        self.trust_domain
    }

    pub(crate) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(crate) const fn take_revision(&mut self, revision: Revision) {
        self.revision = Some(revision);
    }

    pub(crate) const fn revision_taken(&self) -> Option<Revision> {
        self.revision
    }

    /// The revision of this batch: the next one of its trust domain, taken on first use.
    pub fn revision(&mut self) -> Result<Revision, StoreError> {
        if let Some(revision) = self.revision {
            return Ok(revision);
        }
        let next: u64 = self
            .connection
            .prepare_cached(
                "INSERT INTO revisions (td, revision) VALUES (?1, 1)
             ON CONFLICT (td) DO UPDATE SET revision = revision + 1 RETURNING revision",
            )?
            .query_row([self.trust_domain.as_str()], |row| row.get(0))?;
        self.revision = Some(Revision(next));
        Ok(Revision(next))
    }

    pub fn entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        let found: Option<String> = self
            .connection
            .prepare_cached("SELECT value FROM entries WHERE td = ?1 AND id = ?2")?
            .query_row(params![self.trust_domain.as_str(), id.as_str()], |row| row.get(0))
            .optional()?;
        found.map(|text| form::entry_from_text(&text)).transpose()
    }

    /// An entry that registers the same identity for the same parent and selectors.
    pub fn twin(&self, entry: &Entry) -> Result<Option<Entry>, StoreError> {
        // Left to choose, SQLite walks over all entries of the trust domain.
        let mut statement = self
            .connection
            .prepare_cached("SELECT value FROM entries INDEXED BY entries_by_identity WHERE td = ?1 AND parent_id = ?2 AND spiffe_id = ?3")?;
        let key = params![self.trust_domain.as_str(), entry.parent_id.to_string(), entry.spiffe_id.to_string()];
        let rows = statement.query_map(key, |row| row.get::<_, String>(0))?;
        for text in rows {
            let known = form::entry_from_text(&text?)?;
            if known.same_registration(entry) {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// The entries whose parent is `parent`.
    pub fn children(&self, parent: &SpiffeId) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT value FROM entries INDEXED BY entries_by_identity WHERE td = ?1 AND parent_id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.trust_domain.as_str(), parent.to_string()], |row| row.get(0))?;
        rows.map(|text: rusqlite::Result<String>| form::entry_from_text(&text?)).collect()
    }

    pub fn put_entry(&mut self, entry: Entry) -> Result<(), StoreError> {
        let revision = self.revision()?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO entries (td, id, parent_id, spiffe_id, revision, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                self.trust_domain.as_str(),
                entry.id.as_str(),
                entry.parent_id.to_string(),
                entry.spiffe_id.to_string(),
                revision.0,
                form::entry_to_text(&entry)?
            ])?;
        self.changes.push(Change::Entry(Arc::new(entry)));
        Ok(())
    }

    /// Whether there was one.
    pub fn remove_entry(&mut self, id: &EntryId) -> Result<bool, StoreError> {
        let removed = self.delete("DELETE FROM entries WHERE td = ?1 AND id = ?2", id.as_str())?;
        if removed {
            self.revision()?;
            self.changes.push(Change::EntryRemoved(id.clone()));
        }
        Ok(removed)
    }

    pub fn node(&self, id: &SpiffeId) -> Result<Option<Node>, StoreError> {
        let found: Option<String> = self
            .connection
            .prepare_cached("SELECT value FROM nodes WHERE td = ?1 AND id = ?2")?
            .query_row(params![self.trust_domain.as_str(), id.to_string()], |row| row.get(0))
            .optional()?;
        found.map(|text| form::node_from_text(&text)).transpose()
    }

    pub fn put_node(&mut self, node: Node) -> Result<(), StoreError> {
        self.revision()?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO nodes (td, id, value) VALUES (?1, ?2, ?3)")?
            .execute(params![self.trust_domain.as_str(), node.id.to_string(), form::node_to_text(&node)?])?;
        self.changes.push(Change::Node(Box::new(node)));
        Ok(())
    }

    /// What only it had goes with it: the positions of its spools.
    pub fn remove_node(&mut self, id: &SpiffeId) -> Result<bool, StoreError> {
        let removed = self.delete("DELETE FROM nodes WHERE td = ?1 AND id = ?2", &id.to_string())?;
        if removed {
            self.delete("DELETE FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'", &id.to_string())?;
            self.revision()?;
            self.changes.push(Change::NodeRemoved(id.clone()));
        }
        Ok(removed)
    }

    /// Stores a join token's hash. Expired ones are forgotten on the way.
    pub fn put_token(
        &mut self,
        hash: &str,
        agent: &SpiffeId,
        expires: UnixTime,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "DELETE FROM tokens WHERE td = ?1 AND expires_at < ?2",
            params![self.trust_domain.as_str(), now.plus_seconds(-86_400).nanos()],
        )?;
        self.connection.execute(
            "INSERT INTO tokens (td, token_hash, agent_id, expires_at) VALUES (?1, ?2, ?3, ?4)",
            params![self.trust_domain.as_str(), hash, agent.to_string(), expires.nanos()],
        )?;
        Ok(())
    }

    /// Deletes a join token that nobody has used; false if there is none.
    pub fn remove_token(&mut self, hash: &str) -> Result<bool, StoreError> {
        self.delete("DELETE FROM tokens WHERE td = ?1 AND token_hash = ?2", hash)
    }

    /// Deletes all join tokens of this trust domain.
    pub fn remove_tokens(&mut self) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM tokens WHERE td = ?1", [self.trust_domain.as_str()])?;
        Ok(())
    }

    /// Spends a join token: the one statement that finds it also deletes it (law L4). What is issued for it shows a revision
    /// that a database from before does not know.
    pub fn spend_token(&mut self, hash: &str, now: UnixTime) -> Result<TokenUse, StoreError> {
        let found: Option<(String, i64)> = self
            .connection
            .query_row(
                "DELETE FROM tokens WHERE td = ?1 AND token_hash = ?2 RETURNING agent_id, expires_at",
                params![self.trust_domain.as_str(), hash],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if found.is_some() {
            self.revision()?;
        }
        match found {
            None => Ok(TokenUse::Unknown),
            Some((_, expires)) if UnixTime::from_nanos(expires) <= now => Ok(TokenUse::Expired),
            Some((agent, _)) => {
                let agent_id = SpiffeId::parse(&agent).map_err(|_| StoreError::Damaged("token"))?;
                Ok(TokenUse::Spent { agent_id })
            }
        }
    }

    pub fn put_authority(&mut self, authority: &AuthorityRecord) -> Result<(), StoreError> {
        self.revision()?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO authorities (td, id, value) VALUES (?1, ?2, ?3)")?
            .execute(params![self.trust_domain.as_str(), authority.id, form::authority_to_text(authority)?])?;
        self.changes.push(Change::Authorities);
        Ok(())
    }

    pub fn remove_authority(&mut self, id: &str) -> Result<bool, StoreError> {
        let removed = self.delete("DELETE FROM authorities WHERE td = ?1 AND id = ?2", id)?;
        if removed {
            self.revision()?;
            self.changes.push(Change::Authorities);
        }
        Ok(removed)
    }

    /// Stores a policy under this batch's revision, and forgets all but the newest `keep`.
    pub fn put_policy(&mut self, policy: &PolicyRecord, keep: u32) -> Result<(), StoreError> {
        let revision = self.revision()?;
        self.connection.execute(
            "INSERT INTO policies (td, revision, digest, at_ms, files) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                self.trust_domain.as_str(),
                revision.0,
                policy.digest.to_string(),
                policy.at.millis(),
                form::to_text(&policy.files, "policy")?
            ],
        )?;
        self.connection.execute(
            "DELETE FROM policies WHERE td = ?1 AND revision NOT IN
             (SELECT revision FROM policies WHERE td = ?1 ORDER BY revision DESC LIMIT ?2)",
            params![self.trust_domain.as_str(), keep],
        )?;
        self.changes.push(Change::Policy(Arc::new(policy.clone())));
        Ok(())
    }

    /// Remembers up to where a node's spool was recorded. Of each node, only the spools that were heard of last.
    pub fn put_spool_position(
        &mut self,
        node: &SpiffeId,
        spool: &str,
        position: SpoolPosition,
    ) -> Result<(), StoreError> {
        let (td, node) = (self.trust_domain.as_str(), node.to_string());
        let values = params![td, format!("{node} {spool}"), position.next, position.log_index, position.lost];
        let sql = "UPDATE spools SET next = ?3, log_index = ?4, lost = ?5 WHERE td = ?1 AND id = ?2";
        if self.connection.prepare_cached(sql)?.execute(values)? > 0 {
            return Ok(());
        }
        let sql = "INSERT INTO spools (td, id, next, log_index, lost) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.connection.prepare_cached(sql)?.execute(values)?;
        let sql = "SELECT count(*) FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'";
        let known: u64 = self.connection.prepare_cached(sql)?.query_row(params![td, node], |row| row.get(0))?;
        if known > SPOOLS_PER_NODE {
            let sql = "DELETE FROM spools WHERE td = ?1 AND id IN
                       (SELECT id FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'
                        ORDER BY log_index LIMIT ?3)";
            self.connection.prepare_cached(sql)?.execute(params![td, node, known - SPOOLS_PER_NODE])?;
        }
        Ok(())
    }

    /// Remembers that agents of `parent` served `id` until now.
    pub fn put_former_parent(&mut self, id: &SpiffeId, parent: &SpiffeId, until: UnixTime) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO former_parents (td, spiffe_id, parent_id, until_ms) VALUES (?1, ?2, ?3, ?4)";
        let (td, id, parent) = (self.trust_domain.as_str(), id.to_string(), parent.to_string());
        self.connection.prepare_cached(sql)?.execute(params![td, id, parent, until.millis()])?;
        Ok(())
    }

    pub fn forget_former_parents(&mut self, before: UnixTime) -> Result<(), StoreError> {
        let sql = "DELETE FROM former_parents WHERE td = ?1 AND until_ms < ?2";
        self.connection.prepare_cached(sql)?.execute(params![self.trust_domain.as_str(), before.millis()])?;
        Ok(())
    }

    /// Remembers the time by which things are forgotten now.
    pub fn mark_retention(&mut self, at: UnixTime) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO retention (td, at_ms) VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![self.trust_domain.as_str(), at.millis()])?;
        Ok(())
    }

    /// Puts a leaf into the outbox of this transaction.
    pub fn log(&mut self, leaf: &[u8], side: &[u8]) -> Result<(), StoreError> {
        self.has_leaf = true;
        self.connection.prepare_cached("INSERT INTO outbox (td, leaf, side) VALUES (?1, ?2, ?3)")?.execute(params![
            self.trust_domain.as_str(),
            leaf,
            side
        ])?;
        Ok(())
    }

    /// Takes leaves out of the outbox that the ledger has made durable.
    pub fn logged(&mut self, through: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM outbox WHERE td = ?1 AND seq <= ?2", params![self.trust_domain.as_str(), through])?;
        Ok(())
    }

    /// Remembers how far the log had come, so that an older copy of it is noticed.
    pub fn mark_log(&mut self, mark: &LogMark) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO log_marks (td, size, root) VALUES (?1, ?2, ?3)")?
            .execute(params![self.trust_domain.as_str(), mark.size, mark.root])?;
        Ok(())
    }

    fn delete(&self, sql: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params![self.trust_domain.as_str(), id])? > 0)
    }
}
