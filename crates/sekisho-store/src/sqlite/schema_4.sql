-- Version 4. Each change of this release to the schema stands below, one paragraph each.

-- SVIDs that are refused although they have not expired, until the last of them has.
CREATE TABLE revocations (
  td TEXT NOT NULL, what TEXT NOT NULL, until_ms INTEGER NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (td, what)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_end ON revocations (td, until_ms);
