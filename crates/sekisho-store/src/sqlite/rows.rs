use rusqlite::{Connection, OptionalExtension, Params, params};
use sekisho_identity::{Entry, Node, Revocation, Revoked, entry_record};
use sekisho_types::{Digest, EntryId, Revision, SpiffeId, TrustDomain, UnixTime};

use super::reads::{Reader, bounded};
use crate::rows::Rows;
use crate::{
    AlertRecord, AuthorityRecord, ChangedId, DeviceRecord, Epoch, LogMark, PolicyRecord, ServerId, SpoolPosition,
    StoreError, TokenRecord, changed_form, form, revocation_form,
};

/// Rows of one trust domain, in a transaction that is open.
pub(super) struct SqliteRows<'a> {
    pub connection: &'a Connection,
    pub trust_domain: &'a TrustDomain,
    pub server: &'a ServerId,
}

impl SqliteRows<'_> {
    fn td(&self) -> &str {
        self.trust_domain.as_str()
    }

    fn read(&self) -> Reader<'_> {
        Reader::new(self.connection, self.server)
    }

    fn run(&self, sql: &str, values: impl Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(values)?)
    }
}

impl Rows for SqliteRows<'_> {
    fn next_revision(&mut self) -> Result<Revision, StoreError> {
        let sql = "INSERT INTO revisions (td, revision) VALUES (?1, 1)
                   ON CONFLICT (td) DO UPDATE SET revision = revision + 1 RETURNING revision";
        Ok(Revision(self.connection.prepare_cached(sql)?.query_row([self.td()], |row| row.get(0))?))
    }

    fn jump(&mut self, beyond: Revision, by: u64) -> Result<Revision, StoreError> {
        let sql = "INSERT INTO revisions (td, revision, changes_from) VALUES (?1, ?2 + ?3, ?2 + ?3)
                   ON CONFLICT (td) DO UPDATE
                   SET revision = MAX(revision, ?2) + ?3, changes_from = MAX(revision, ?2) + ?3 RETURNING revision";
        let values = params![self.td(), bounded(beyond), by];
        let next = self.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        self.run("DELETE FROM changes WHERE td = ?1", [self.td()])?;
        Ok(Revision(next))
    }

    fn entry(&mut self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        let found: Option<String> = self
            .connection
            .prepare_cached("SELECT value FROM entries WHERE td = ?1 AND id = ?2")?
            .query_row(params![self.td(), id.as_str()], |row| row.get(0))
            .optional()?;
        found.map(|text| form::entry_from_text(&text)).transpose()
    }

    fn entries_under(&mut self, parent: &SpiffeId, spiffe_id: &SpiffeId) -> Result<Vec<Entry>, StoreError> {
        // Left to choose, SQLite looks at all entries of the trust domain.
        let sql = "SELECT value FROM entries INDEXED BY entries_by_identity
                   WHERE td = ?1 AND parent_id = ?2 AND spiffe_id = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let key = params![self.td(), parent.as_str(), spiffe_id.as_str()];
        let rows = statement.query_map(key, |row| row.get::<_, String>(0))?;
        rows.map(|text| form::entry_from_text(&text?)).collect()
    }

    fn child_ids(&mut self, parent: &SpiffeId) -> Result<Vec<EntryId>, StoreError> {
        let sql = "SELECT id FROM entries INDEXED BY entries_by_identity WHERE td = ?1 AND parent_id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.td(), parent.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|text| EntryId::parse(&text?).map_err(|_| StoreError::Damaged("entry"))).collect()
    }

    fn put_entry(&mut self, entry: &Entry, revision: Revision) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO entries (td, id, parent_id, spiffe_id, revision, value)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (parent, id, record) = (entry.parent_id.as_str(), entry.spiffe_id.as_str(), entry_record(entry));
        self.run(sql, params![self.td(), entry.id.as_str(), parent, id, revision.0, record]).map(drop)
    }

    fn delete_entry(&mut self, id: &EntryId) -> Result<(), StoreError> {
        self.run("DELETE FROM entries WHERE td = ?1 AND id = ?2", params![self.td(), id.as_str()]).map(drop)
    }

    fn node(&mut self, id: &SpiffeId) -> Result<Option<Node>, StoreError> {
        let found: Option<String> = self
            .connection
            .prepare_cached("SELECT value FROM nodes WHERE td = ?1 AND id = ?2")?
            .query_row(params![self.td(), id.to_string()], |row| row.get(0))
            .optional()?;
        found.map(|text| form::node_from_text(&text)).transpose()
    }

    fn put_node(&mut self, node: &Node) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO nodes (td, id, value) VALUES (?1, ?2, ?3)";
        self.run(sql, params![self.td(), node.id.to_string(), form::node_to_text(node)?]).map(drop)
    }

    fn delete_node(&mut self, id: &SpiffeId) -> Result<(), StoreError> {
        let id = id.to_string();
        self.run("DELETE FROM nodes WHERE td = ?1 AND id = ?2", params![self.td(), id])?;
        let sql = "DELETE FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'";
        self.run(sql, params![self.td(), id]).map(drop)
    }

    fn device(&mut self, key: &Digest) -> Result<Option<DeviceRecord>, StoreError> {
        self.read().device(self.trust_domain, key)
    }

    fn put_device(&mut self, device: &DeviceRecord) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO devices
                   (td, key, node, approved_by, about, seen_ms, remembered, removed_ms, network, revoked_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let DeviceRecord { key, node, approved_by, about, seen_at, remembered, removed_at, network, revoked_at } =
            device;
        let (key, node, remembered) = (key.to_string(), node.as_ref().map(ToString::to_string), remembered.as_deref());
        let [seen, removed, revoked] = [seen_at, removed_at, revoked_at].map(|time| time.millis());
        let values = params![self.td(), key, node, approved_by, about, seen, remembered, removed, network, revoked];
        self.run(sql, values).map(drop)
    }

    fn remove_devices_node(&mut self, node: &Node, at: UnixTime) -> Result<(), StoreError> {
        let sql = "UPDATE devices SET remembered = ?3, removed_ms = ?4 WHERE td = ?1 AND node = ?2";
        let values = params![self.td(), node.id.to_string(), node.remembered.as_deref(), at.millis()];
        self.run(sql, values).map(drop)
    }

    fn delete_device(&mut self, key: &Digest) -> Result<(), StoreError> {
        self.run("DELETE FROM devices WHERE td = ?1 AND key = ?2", params![self.td(), key.to_string()]).map(drop)
    }

    fn waiting_devices(&mut self) -> Result<Vec<DeviceRecord>, StoreError> {
        self.read().waiting_devices(self.trust_domain)
    }

    fn alerts_of(&mut self, agent: &SpiffeId) -> Result<Vec<AlertRecord>, StoreError> {
        let sql = "SELECT value FROM alerts WHERE td = ?1 AND agent = ?2 ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.td(), agent.to_string()], |row| row.get::<_, String>(0))?;
        rows.map(|text| form::alert_from_text(&text?)).collect()
    }

    fn put_alert(&mut self, alert: &AlertRecord) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO alerts (td, id, agent, value) VALUES (?1, ?2, ?3, ?4)";
        let values = params![self.td(), alert.id, alert.agent.to_string(), form::alert_to_text(alert)?];
        self.run(sql, values).map(drop)
    }

    fn delete_alert(&mut self, id: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM alerts WHERE td = ?1 AND id = ?2", params![self.td(), id]).map(drop)
    }

    fn trim_alerts(&mut self, keep: usize) -> Result<(), StoreError> {
        let sql = "DELETE FROM alerts WHERE td = ?1 AND id IN
                   (SELECT id FROM alerts WHERE td = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)";
        self.run(sql, params![self.td(), i64::try_from(keep).unwrap_or(i64::MAX)]).map(drop)
    }

    fn token(&mut self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        self.read().token(self.trust_domain, hash)
    }

    fn put_token(&mut self, token: &TokenRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO tokens (td, token_hash, agent_id, expires_at) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![self.td(), token.hash, token.agent_id.to_string(), token.expires_at.nanos()]).map(drop)
    }

    fn delete_token(&mut self, hash: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM tokens WHERE td = ?1 AND token_hash = ?2", params![self.td(), hash]).map(drop)
    }

    fn delete_tokens(&mut self, before: Option<UnixTime>) -> Result<(), StoreError> {
        let Some(before) = before else { return self.run("DELETE FROM tokens WHERE td = ?1", [self.td()]).map(drop) };
        self.run("DELETE FROM tokens WHERE td = ?1 AND expires_at < ?2", params![self.td(), before.nanos()]).map(drop)
    }

    fn put_authority(&mut self, authority: &AuthorityRecord) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO authorities (td, id, server, value) VALUES (?1, ?2, ?3, ?4)";
        let text = form::authority_to_text(authority)?;
        self.run(sql, params![self.td(), authority.id, authority.server.as_str(), text]).map(drop)
    }

    fn delete_authority(&mut self, id: &str) -> Result<bool, StoreError> {
        Ok(self.run("DELETE FROM authorities WHERE td = ?1 AND id = ?2", params![self.td(), id])? > 0)
    }

    fn policy(&mut self) -> Result<Option<PolicyRecord>, StoreError> {
        self.read().policy(self.trust_domain, None)
    }

    fn policy_revision(&mut self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT MAX(revision) FROM policies WHERE td = ?1";
        Ok(self.connection.prepare_cached(sql)?.query_row([self.td()], |row| row.get(0))?)
    }

    fn put_policy(&mut self, policy: &PolicyRecord, keep: usize) -> Result<(), StoreError> {
        let sql = "INSERT INTO policies (td, revision, digest, at_ms, files) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (digest, files) = (policy.digest.to_string(), form::to_text(&policy.files, "policy")?);
        self.run(sql, params![self.td(), policy.revision, digest, policy.at.millis(), files])?;
        let sql = "DELETE FROM policies WHERE td = ?1 AND revision NOT IN
                   (SELECT revision FROM policies WHERE td = ?1 ORDER BY revision DESC LIMIT ?2)";
        self.run(sql, params![self.td(), i64::try_from(keep).unwrap_or(i64::MAX)]).map(drop)
    }

    fn revocations(&mut self) -> Result<Vec<Revocation>, StoreError> {
        self.read().revocations(self.trust_domain)
    }

    fn revoked_at(&mut self, what: &Revoked) -> Result<Option<Revision>, StoreError> {
        let sql = "SELECT value FROM revocations WHERE td = ?1 AND what = ?2";
        let key = params![self.td(), revocation_form::key(what)];
        let found: Option<String> = self.connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
        found.map(|text| Ok(revocation_form::from_text(&text)?.revision)).transpose()
    }

    fn put_revocation(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        let sql = "INSERT INTO revocations (td, what, until_ms, value) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (td, what)
                   DO UPDATE SET value = excluded.value, until_ms = max(until_ms, excluded.until_ms)";
        let (key, text) = revocation_form::to_texts(revocation)?;
        self.run(sql, params![self.td(), key, revocation.until.millis(), text]).map(drop)
    }

    fn delete_revocations(&mut self, ended_before: UnixTime) -> Result<(), StoreError> {
        let sql = "DELETE FROM revocations WHERE td = ?1 AND until_ms < ?2";
        self.run(sql, params![self.td(), ended_before.millis()]).map(drop)
    }

    fn spool(&mut self, node: &SpiffeId, spool: &str) -> Result<Option<SpoolPosition>, StoreError> {
        self.read().spool(self.trust_domain, node, spool)
    }

    fn put_spool(
        &mut self,
        node: &SpiffeId,
        spool: &str,
        position: SpoolPosition,
        keep: usize,
    ) -> Result<(), StoreError> {
        let (td, node) = (self.td(), node.to_string());
        let values = params![td, format!("{node} {spool}"), position.next, position.log_index, position.lost];
        let sql = "UPDATE spools SET next = ?3, log_index = ?4, lost = ?5 WHERE td = ?1 AND id = ?2";
        if self.run(sql, values)? > 0 {
            return Ok(());
        }
        self.run("INSERT INTO spools (td, id, next, log_index, lost) VALUES (?1, ?2, ?3, ?4, ?5)", values)?;
        let sql = "SELECT count(*) FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'";
        let known: i64 = self.connection.prepare_cached(sql)?.query_row(params![td, node], |row| row.get(0))?;
        let beyond = known - i64::try_from(keep).unwrap_or(i64::MAX);
        if beyond > 0 {
            let sql = "DELETE FROM spools WHERE td = ?1 AND id IN
                       (SELECT id FROM spools WHERE td = ?1 AND id >= ?2 || ' ' AND id < ?2 || '!'
                        ORDER BY log_index LIMIT ?3)";
            self.run(sql, params![td, node, beyond])?;
        }
        Ok(())
    }

    fn put_former_parent(&mut self, id: &SpiffeId, parent: &SpiffeId, until: UnixTime) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO former_parents (td, spiffe_id, parent_id, until_ms) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![self.td(), id.to_string(), parent.to_string(), until.millis()]).map(drop)
    }

    fn delete_former_parents(&mut self, before: UnixTime) -> Result<(), StoreError> {
        let sql = "DELETE FROM former_parents WHERE td = ?1 AND until_ms < ?2";
        self.run(sql, params![self.td(), before.millis()]).map(drop)
    }

    fn put_retention_mark(&mut self, at: UnixTime) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO retention (td, at_ms) VALUES (?1, ?2)";
        self.run(sql, params![self.td(), at.millis()]).map(drop)
    }

    fn put_log_mark(&mut self, mark: &LogMark) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO log_marks (td, size, root) VALUES (?1, ?2, ?3)";
        self.run(sql, params![self.td(), mark.size, mark.root]).map(drop)
    }

    fn push_leaf(&mut self, leaf: &[u8], side: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO outbox (td, server, leaf, side) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![self.td(), self.server.as_str(), leaf, side]).map(drop)
    }

    fn delete_leaves(&mut self, through: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM outbox WHERE td = ?1 AND server = ?2 AND seq <= ?3";
        self.run(sql, params![self.td(), self.server.as_str(), through]).map(drop)
    }

    fn put_epoch(&mut self, epoch: Epoch, keep: usize) -> Result<(), StoreError> {
        let sql = "INSERT INTO epochs (td, epoch, from_revision)
                   SELECT ?1, ?2, COALESCE((SELECT revision FROM revisions WHERE td = ?1), 0)";
        self.run(sql, params![self.td(), epoch.0])?;
        let sql = "DELETE FROM epochs WHERE td = ?1 AND seq NOT IN
                   (SELECT seq FROM epochs WHERE td = ?1 ORDER BY seq DESC LIMIT ?2)";
        self.run(sql, params![self.td(), i64::try_from(keep).unwrap_or(i64::MAX)]).map(drop)
    }

    fn settle_leaves(&mut self, held: &[i64], beyond: i64) -> Result<(), StoreError> {
        let (td, server) = (self.td(), self.server.as_str());
        for number in held {
            self.run("DELETE FROM outbox WHERE td = ?1 AND server = ?2 AND seq = ?3", params![td, server, number])?;
        }
        // https://www.sqlite.org/autoinc.html: the table may be written, and a table that has no row in it begins at
        // its highest number.
        let sql = "SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
                              COALESCE((SELECT MAX(seq) FROM outbox), 0), ?1)";
        let last: i64 = self.connection.query_row(sql, [beyond], |row| row.get(0))?;
        self.run("DELETE FROM sqlite_sequence WHERE name = 'outbox'", [])?;
        self.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)", [last])?;
        let sql = "INSERT INTO outbox (td, server, leaf, side) SELECT td, server, leaf, side FROM outbox
                   WHERE td = ?1 AND server = ?2 ORDER BY seq";
        self.run(sql, params![td, server])?;
        self.delete_leaves(last)
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        // The row of no trust domain.
        self.run("INSERT OR REPLACE INTO retention (td, at_ms) VALUES ('', 0)", [])?;
        self.run("DELETE FROM retention WHERE td = ''", []).map(drop)
    }

    fn put_changed(&mut self, revision: Revision, what: &ChangedId) -> Result<(), StoreError> {
        let sql = "INSERT INTO changes (td, revision, kind, id, parents, spiffe_ids) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (td, revision, kind, id)
                   DO UPDATE SET parents = parents || ' ' || excluded.parents,
                                 spiffe_ids = spiffe_ids || ' ' || excluded.spiffe_ids";
        let ((kind, id), (parents, spiffe_ids)) = (changed_form::key(what), changed_form::relations(what));
        self.run(sql, params![self.td(), revision.0, kind, id, parents, spiffe_ids]).map(drop)
    }

    fn trim_changed(&mut self, keep: usize) -> Result<(), StoreError> {
        let sql = "SELECT revision FROM changes WHERE td = ?1 ORDER BY revision DESC LIMIT 1 OFFSET ?2";
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let oldest = statement.query_row(params![self.td(), keep], |row| row.get::<_, u64>(0)).optional()?;
        let Some(oldest) = oldest else { return Ok(()) };
        self.run("DELETE FROM changes WHERE td = ?1 AND revision <= ?2", params![self.td(), oldest])?;
        self.run("UPDATE revisions SET changes_from = ?2 WHERE td = ?1", params![self.td(), oldest]).map(drop)
    }
}
