CREATE TABLE revisions (td TEXT PRIMARY KEY, revision INTEGER NOT NULL) STRICT;

CREATE TABLE entries (
  td TEXT NOT NULL, id TEXT NOT NULL, parent_id TEXT NOT NULL, spiffe_id TEXT NOT NULL,
  revision INTEGER NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (td, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_by_identity ON entries (td, parent_id, spiffe_id);

CREATE TABLE nodes (td TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (td, id)) STRICT, WITHOUT ROWID;

-- A join token is stored as its SHA-256; spending it deletes the row.
CREATE TABLE tokens (
  td TEXT NOT NULL, token_hash TEXT NOT NULL, agent_id TEXT NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY (td, token_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE authorities (td TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (td, id)) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
  td TEXT NOT NULL, revision INTEGER NOT NULL, digest TEXT NOT NULL, at_ms INTEGER NOT NULL, files TEXT NOT NULL,
  PRIMARY KEY (td, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE decisions (
  td TEXT NOT NULL, id TEXT NOT NULL, at_ms INTEGER NOT NULL, effect TEXT NOT NULL, record TEXT NOT NULL,
  log_index INTEGER NOT NULL, place TEXT NOT NULL,
  PRIMARY KEY (td, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX decisions_by_time ON decisions (td, at_ms);

-- The position up to which each node's spool was recorded, so that a repeated batch is recorded once.
CREATE TABLE spools (td TEXT NOT NULL, id TEXT NOT NULL, next INTEGER NOT NULL, log_index INTEGER NOT NULL, lost INTEGER NOT NULL, PRIMARY KEY (td, id)) STRICT, WITHOUT ROWID;

-- How far the log had come: a log that is shorter is an older copy.
CREATE TABLE log_marks (td TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL) STRICT;

-- Leaves of state changes, written in the transaction of the change and drained into the ledger in order.
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, td TEXT NOT NULL, leaf BLOB NOT NULL, side BLOB NOT NULL) STRICT;
