use rusqlite::{Connection, OptionalExtension, Row, params};
use sekisho_identity::{Entry, Node};
use sekisho_types::{Digest, Revision, SpiffeId, TrustDomain, UnixTime};

use crate::{AuthorityRecord, LogMark, OutboxLeaf, PolicyRecord, SpoolPosition, StoreError, TokenRecord, form};

/// Reads of committed state.
pub struct Reader<'a> {
    connection: &'a Connection,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    pub(crate) const fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub fn revision(&self, td: &TrustDomain) -> Result<Revision, StoreError> {
        let sql = "SELECT revision FROM revisions WHERE td = ?1";
        let found = self.connection.query_row(sql, [td.as_str()], |row| row.get(0)).optional()?;
        Ok(Revision(found.unwrap_or(0)))
    }

    pub fn entries(&self, td: &TrustDomain) -> Result<Vec<Entry>, StoreError> {
        self.values("SELECT value FROM entries WHERE td = ?1 ORDER BY id", td, form::entry_from_text)
    }

    pub fn nodes(&self, td: &TrustDomain) -> Result<Vec<Node>, StoreError> {
        self.values("SELECT value FROM nodes WHERE td = ?1 ORDER BY id", td, form::node_from_text)
    }

    /// Join tokens that were not used.
    pub fn tokens(&self, td: &TrustDomain) -> Result<Vec<TokenRecord>, StoreError> {
        let sql = "SELECT token_hash, agent_id, expires_at FROM tokens WHERE td = ?1 ORDER BY expires_at, token_hash";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
        let rows = statement.query_map([td.as_str()], row)?;
        let token = |(hash, agent, expires): (String, String, i64)| {
            let agent_id = SpiffeId::parse(&agent).map_err(|_| StoreError::Damaged("token"))?;
            Ok(TokenRecord { hash, agent_id, expires_at: UnixTime::from_nanos(expires) })
        };
        rows.map(|found| token(found?)).collect()
    }

    pub fn authorities(&self, td: &TrustDomain) -> Result<Vec<AuthorityRecord>, StoreError> {
        self.values("SELECT value FROM authorities WHERE td = ?1", td, form::authority_from_text)
    }

    fn values<T>(
        &self,
        sql: &str,
        td: &TrustDomain,
        read: fn(&str) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([td.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|text| read(&text?)).collect()
    }

    /// The newest policy, or the one of `revision`.
    pub fn policy(&self, td: &TrustDomain, revision: Option<u64>) -> Result<Option<PolicyRecord>, StoreError> {
        let sql = "SELECT revision, digest, at_ms, files FROM policies WHERE td = ?1 AND revision <= ?2
                   ORDER BY revision DESC LIMIT 1";
        let newest = revision.unwrap_or(i64::MAX as u64);
        let row = self
            .connection
            .query_row(sql, params![td.as_str(), newest], |row| {
                Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
            })
            .optional()?;
        let policy = |(revision, digest, at_ms, files): (u64, String, i64, String)| {
            Ok(PolicyRecord {
                revision,
                digest: Digest::parse(&digest).map_err(|_| StoreError::Damaged("policy"))?,
                at: UnixTime::from_millis(at_ms),
                files: form::from_text(&files, "policy")?,
            })
        };
        row.filter(|row| revision.is_none_or(|wanted| row.0 == wanted)).map(policy).transpose()
    }

    /// Up to where a node's spool was recorded; `None` if it was never heard of.
    pub fn spool_position(
        &self,
        td: &TrustDomain,
        node: &SpiffeId,
        spool: &str,
    ) -> Result<Option<SpoolPosition>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT next, log_index, lost FROM spools WHERE td = ?1 AND id = ?2")?;
        let read = |row: &Row<'_>| Ok(SpoolPosition { next: row.get(0)?, log_index: row.get(1)?, lost: row.get(2)? });
        Ok(statement.query_row(params![td.as_str(), format!("{node} {spool}")], read).optional()?)
    }

    /// The parents whose agents once served `id`, and until when.
    pub fn former_parents(&self, td: &TrustDomain, id: &SpiffeId) -> Result<Vec<(String, UnixTime)>, StoreError> {
        let sql = "SELECT parent_id, until_ms FROM former_parents WHERE td = ?1 AND spiffe_id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, UnixTime::from_millis(row.get(1)?)));
        let rows = statement.query_map(params![td.as_str(), id.to_string()], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The time by which things were last forgotten.
    pub fn retention_mark(&self, td: &TrustDomain) -> Result<Option<UnixTime>, StoreError> {
        let sql = "SELECT at_ms FROM retention WHERE td = ?1";
        let read = |row: &Row<'_>| Ok(UnixTime::from_millis(row.get(0)?));
        Ok(self.connection.query_row(sql, [td.as_str()], read).optional()?)
    }

    /// How far the log had come when that was last remembered.
    pub fn log_mark(&self, td: &TrustDomain) -> Result<Option<LogMark>, StoreError> {
        let read = |row: &Row<'_>| Ok(LogMark { size: row.get(0)?, root: row.get(1)? });
        let sql = "SELECT size, root FROM log_marks WHERE td = ?1";
        Ok(self.connection.query_row(sql, [td.as_str()], read).optional()?)
    }

    /// How many leaves wait for the ledger.
    pub fn outbox_length(&self, td: &TrustDomain) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE td = ?1";
        Ok(self.connection.prepare_cached(sql)?.query_row([td.as_str()], |row| row.get(0))?)
    }

    /// Leaves that wait for the ledger, in order.
    pub fn outbox(&self, td: &TrustDomain, limit: u32) -> Result<Vec<OutboxLeaf>, StoreError> {
        let sql = "SELECT seq, leaf, side FROM outbox WHERE td = ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok(OutboxLeaf { sequence: row.get(0)?, leaf: row.get(1)?, side: row.get(2)? });
        let rows = statement.query_map(params![td.as_str(), limit], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
