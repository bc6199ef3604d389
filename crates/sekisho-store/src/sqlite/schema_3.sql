-- Which parents' agents served an identity that their entry has since lost, until when.
CREATE TABLE former_parents (
  td TEXT NOT NULL, spiffe_id TEXT NOT NULL, parent_id TEXT NOT NULL, until_ms INTEGER NOT NULL,
  PRIMARY KEY (td, spiffe_id, parent_id)
) STRICT, WITHOUT ROWID;

-- The time by which things were last forgotten.
CREATE TABLE retention (td TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT;
