-- Several servers may share a state: each has authorities and a log of its own.
ALTER TABLE authorities ADD COLUMN server TEXT NOT NULL DEFAULT 'local';
ALTER TABLE outbox ADD COLUMN server TEXT NOT NULL DEFAULT 'local';

-- What changed under which revision, for readers that come back: an entry with its parents and SPIFFE IDs, before and after, separated
-- by spaces.
CREATE TABLE changes (
  td TEXT NOT NULL, revision INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, parents TEXT NOT NULL, spiffe_ids TEXT NOT NULL,
  PRIMARY KEY (td, revision, kind, id)
) STRICT, WITHOUT ROWID;

-- The revision from which on all changes are kept.
ALTER TABLE revisions ADD COLUMN changes_from INTEGER NOT NULL DEFAULT 0;
UPDATE revisions SET changes_from = revision;
