use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sekisho_identity::Revocation;
use sekisho_types::{Digest, Revision, SpiffeId, TrustDomain, UnixTime};

use super::entries;
use crate::{
    AlertRecord, AuthorityRecord, DeviceRecord, Epoch, EpochRecord, History, LogMark, Marks, OutboxLeaf, Past,
    PolicyRecord, ServerId, Snapshot, SpoolPosition, StoreError, TokenRecord, changed_form, form, revocation_form,
};

/// Reads of committed state, for threads that may block.
pub struct Reader<'a> {
    connection: &'a Connection,
    server: &'a ServerId,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(connection: &'a Connection, server: &'a ServerId) -> Self {
        Self { connection, server }
    }

    pub fn revision(&self, td: &TrustDomain) -> Result<Revision, StoreError> {
        Ok(self.revisions(td)?.0)
    }

    /// The revision, and that from which on all changes are kept.
    fn revisions(&self, td: &TrustDomain) -> Result<(Revision, Revision), StoreError> {
        let sql = "SELECT revision, changes_from FROM revisions WHERE td = ?1";
        let read = |row: &Row<'_>| Ok((Revision(row.get(0)?), Revision(row.get(1)?)));
        Ok(self.connection.prepare_cached(sql)?.query_row([td.as_str()], read).optional()?.unwrap_or_default())
    }

    /// All of it at one revision.
    pub fn snapshot(&self, td: &TrustDomain) -> Result<Snapshot, StoreError> {
        let reading = self.connection.unchecked_transaction()?;
        let nodes = "SELECT value FROM nodes WHERE td = ?1 ORDER BY id";
        let snapshot = Snapshot {
            revision: self.revision(td)?,
            entries: entries::all(self.connection, td)?,
            nodes: self.values(nodes, td, |text| form::node_from_text(text).map(Arc::new))?,
            policy: self.policy(td, None)?.map(Arc::new),
            revocations: self.revocations(td)?.into_iter().map(Arc::new).collect(),
        };
        reading.finish()?;
        Ok(snapshot)
    }

    pub fn history(&self, td: &TrustDomain, since: Revision) -> Result<History, StoreError> {
        let reading = self.connection.unchecked_transaction()?;
        let (newest, oldest) = self.revisions(td)?;
        if since < oldest || since > newest {
            return Ok(History::TooOld);
        }
        let sql = "SELECT revision, kind, id, parents, spiffe_ids FROM changes WHERE td = ?1 AND revision > ?2
                   ORDER BY revision, kind, id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &Row<'_>| {
            let related = (row.get::<_, String>(3)?, row.get::<_, String>(4)?);
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, related))
        };
        let rows = statement.query_map(params![td.as_str(), bounded(since)], row)?;
        let changed = rows.map(|row| {
            let (revision, kind, id, (parents, spiffe_ids)) = row?;
            changed_form::from_texts(revision, (&kind, id), (&parents, &spiffe_ids))
        });
        let changed = changed.collect::<Result<_, _>>()?;
        drop(statement);
        reading.finish()?;
        Ok(History::Known(changed))
    }

    pub fn past(&self, td: &TrustDomain, at_most: usize) -> Result<Past, StoreError> {
        let (newest, oldest) = self.revisions(td)?;
        let sql = "SELECT revision FROM changes WHERE td = ?1 ORDER BY revision DESC LIMIT 1 OFFSET ?2";
        let key = params![td.as_str(), i64::try_from(at_most).unwrap_or(i64::MAX)];
        let beyond = self.connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
        let since = beyond.map_or(oldest, |revision| oldest.max(Revision(revision)));
        let epochs = self.epochs(td)?;
        Ok(match self.history(td, since)? {
            History::Known(changed) => Past { since, changed, epochs },
            History::TooOld => Past { since: newest, changed: vec![], epochs },
        })
    }

    fn epochs(&self, td: &TrustDomain) -> Result<Vec<EpochRecord>, StoreError> {
        let sql = "SELECT epoch, from_revision FROM epochs WHERE td = ?1 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &Row<'_>| Ok(EpochRecord { epoch: Epoch(row.get(0)?), from: Revision(row.get(1)?) });
        Ok(statement.query_map([td.as_str()], row)?.collect::<Result<_, _>>()?)
    }

    /// Alerts after one of them, oldest first; without one, the newest.
    pub fn alerts(&self, td: &TrustDomain, after: Option<&str>, limit: usize) -> Result<Vec<AlertRecord>, StoreError> {
        let sql = match after {
            Some(_) => "SELECT value FROM alerts WHERE td = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            None => "SELECT value FROM alerts WHERE td = ?1 AND id > ?2 ORDER BY id DESC LIMIT ?3",
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let values = params![td.as_str(), after.unwrap_or_default(), i64::try_from(limit).unwrap_or(i64::MAX)];
        let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
        let mut found: Vec<_> = rows.map(|text| form::alert_from_text(&text?)).collect::<Result<_, _>>()?;
        if after.is_none() {
            found.reverse();
        }
        Ok(found)
    }

    pub fn devices(&self, td: &TrustDomain) -> Result<Vec<DeviceRecord>, StoreError> {
        let sql = format!("SELECT {DEVICE} FROM devices WHERE td = ?1 ORDER BY key");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([td.as_str()], device_row)?;
        rows.map(|found| device(found?)).collect()
    }

    /// Those that are no node and that were not approved.
    pub fn waiting_devices(&self, td: &TrustDomain) -> Result<Vec<DeviceRecord>, StoreError> {
        let sql = format!("SELECT {DEVICE} FROM devices WHERE td = ?1 AND node IS NULL AND approved_by IS NULL");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map([td.as_str()], device_row)?;
        rows.map(|found| device(found?)).collect()
    }

    pub fn device(&self, td: &TrustDomain, key: &Digest) -> Result<Option<DeviceRecord>, StoreError> {
        let sql = format!("SELECT {DEVICE} FROM devices WHERE td = ?1 AND key = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = [td.as_str(), &key.to_string()];
        statement.query_row(values, device_row).optional()?.map(device).transpose()
    }

    /// Join tokens that were not used.
    pub fn tokens(&self, td: &TrustDomain) -> Result<Vec<TokenRecord>, StoreError> {
        let sql = "SELECT token_hash, agent_id, expires_at FROM tokens WHERE td = ?1 ORDER BY expires_at, token_hash";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([td.as_str()], token_row)?;
        rows.map(|found| token(found?)).collect()
    }

    pub fn token(&self, td: &TrustDomain, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        let sql = "SELECT token_hash, agent_id, expires_at FROM tokens WHERE td = ?1 AND token_hash = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row([td.as_str(), hash], token_row).optional()?.map(token).transpose()
    }

    pub fn authorities(&self, td: &TrustDomain) -> Result<Vec<AuthorityRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT server, value FROM authorities WHERE td = ?1")?;
        let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let rows = statement.query_map([td.as_str()], row)?;
        let authority = |row: rusqlite::Result<(String, String)>| {
            let (server, text) = row?;
            form::authority_from_text(&text, ServerId::new(&server))
        };
        rows.map(authority).collect()
    }

    fn values<T>(
        &self,
        sql: &str,
        td: &TrustDomain,
        read: fn(&str) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([td.as_str()])?;
        let mut out = vec![];
        while let Some(row) = rows.next()? {
            out.push(read(row.get_ref(0)?.as_str().map_err(|_| StoreError::Damaged("row"))?)?);
        }
        Ok(out)
    }

    /// The newest policy, or the one of `revision`.
    pub fn policy(&self, td: &TrustDomain, revision: Option<u64>) -> Result<Option<PolicyRecord>, StoreError> {
        let sql = "SELECT revision, digest, at_ms, files FROM policies WHERE td = ?1 AND revision <= ?2
                   ORDER BY revision DESC LIMIT 1";
        let newest = revision.unwrap_or(i64::MAX as u64);
        let row = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![td.as_str(), newest], |row| {
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

    pub fn revocations(&self, td: &TrustDomain) -> Result<Vec<Revocation>, StoreError> {
        let sql = "SELECT value, until_ms FROM revocations WHERE td = ?1 ORDER BY what";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([td.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let read = |row: rusqlite::Result<(String, i64)>| {
            let (text, until_ms) = row?;
            let mut revocation = revocation_form::from_text(&text)?;
            revocation.until = revocation.until.max(UnixTime::from_millis(until_ms));
            Ok(revocation)
        };
        rows.map(read).collect()
    }

    /// Up to where a node's spool was recorded; `None` if it was never heard of.
    pub fn spool(&self, td: &TrustDomain, node: &SpiffeId, spool: &str) -> Result<Option<SpoolPosition>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT next, log_index, lost FROM spools WHERE td = ?1 AND id = ?2")?;
        let read = |row: &Row<'_>| Ok(SpoolPosition { next: row.get(0)?, log_index: row.get(1)?, lost: row.get(2)? });
        Ok(statement.query_row(params![td.as_str(), format!("{node} {spool}")], read).optional()?)
    }

    /// The parents whose agents once served `id`, and until when.
    pub fn former_parents(&self, td: &TrustDomain, id: &SpiffeId) -> Result<Vec<(SpiffeId, UnixTime)>, StoreError> {
        let sql = "SELECT parent_id, until_ms FROM former_parents WHERE td = ?1 AND spiffe_id = ?2 ORDER BY parent_id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, UnixTime::from_millis(row.get(1)?)));
        let rows = statement.query_map(params![td.as_str(), id.to_string()], read)?;
        let parent = |row: rusqlite::Result<(String, UnixTime)>| {
            let (parent, until) = row?;
            Ok((SpiffeId::parse(&parent).map_err(|_| StoreError::Damaged("former parent"))?, until))
        };
        rows.map(parent).collect()
    }

    pub fn marks(&self, td: &TrustDomain) -> Result<Marks, StoreError> {
        let log = |row: &Row<'_>| Ok(LogMark { size: row.get(0)?, root: row.get(1)? });
        let at = |row: &Row<'_>| Ok(UnixTime::from_millis(row.get(0)?));
        let marked = "SELECT size, root FROM log_marks WHERE td = ?1";
        let retained = "SELECT at_ms FROM retention WHERE td = ?1";
        let given = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'";
        Ok(Marks {
            log: self.connection.query_row(marked, [td.as_str()], log).optional()?,
            retention: self.connection.query_row(retained, [td.as_str()], at).optional()?,
            last_leaf: self.connection.query_row(given, [], |row| row.get(0)).optional()?.unwrap_or(0),
        })
    }

    pub fn outbox_length(&self, td: &TrustDomain) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE td = ?1 AND server = ?2";
        let key = [td.as_str(), self.server.as_str()];
        Ok(self.connection.prepare_cached(sql)?.query_row(key, |row| row.get(0))?)
    }

    pub fn outbox(&self, td: &TrustDomain, limit: usize) -> Result<Vec<OutboxLeaf>, StoreError> {
        let sql = "SELECT seq, leaf, side FROM outbox WHERE td = ?1 AND server = ?2 ORDER BY seq LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok(OutboxLeaf { sequence: row.get(0)?, leaf: row.get(1)?, side: row.get(2)? });
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![td.as_str(), self.server.as_str(), limit], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A revision that SQLite can count on from.
pub(super) fn bounded(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX).min(1 << 62)
}

type TokenRow = (String, String, i64);

fn token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn token((hash, agent, expires): TokenRow) -> Result<TokenRecord, StoreError> {
    let agent_id = SpiffeId::parse(&agent).map_err(|_| StoreError::Damaged("token"))?;
    Ok(TokenRecord { hash, agent_id, expires_at: UnixTime::from_nanos(expires) })
}

/// The columns of a device, in the order of its row.
const DEVICE: &str = "key, node, approved_by, about, seen_ms, remembered, removed_ms, network, revoked_ms";

/// A row whose key and node are not read yet.
type DeviceRow = (String, Option<String>, DeviceRecord);

fn device_row(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    let time = |column| Ok::<_, rusqlite::Error>(UnixTime::from_millis(row.get(column)?));
    let device = DeviceRecord {
        approved_by: row.get(2)?,
        about: row.get(3)?,
        seen_at: time(4)?,
        remembered: row.get::<_, Option<String>>(5)?.map(Into::into),
        removed_at: time(6)?,
        network: row.get(7)?,
        revoked_at: time(8)?,
        ..DeviceRecord::unseen(Digest::new([0; 32]))
    };
    Ok((row.get(0)?, row.get(1)?, device))
}

fn device((key, node, device): DeviceRow) -> Result<DeviceRecord, StoreError> {
    let damaged = || StoreError::Damaged("device");
    let node = node.map(|node| SpiffeId::parse(&node).map_err(|_| damaged())).transpose()?;
    Ok(DeviceRecord { key: Digest::parse(&key).map_err(|_| damaged())?, node, ..device })
}
