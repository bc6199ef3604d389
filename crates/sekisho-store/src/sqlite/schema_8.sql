-- Devices by which nodes prove themselves, each by the SHA-256 of its key: one is one node permanently, whatever becomes of the node. One
-- that no configured authority vouches for needs an operator's approval.
CREATE TABLE devices (
  td TEXT NOT NULL, key TEXT NOT NULL, node TEXT, approved_by TEXT, about TEXT NOT NULL, seen_ms INTEGER NOT NULL,
  PRIMARY KEY (td, key)
) STRICT, WITHOUT ROWID;

-- What operators are alerted to. An id begins with its time.
CREATE TABLE alerts (td TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (td, id)) STRICT, WITHOUT ROWID;
