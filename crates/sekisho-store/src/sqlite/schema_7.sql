-- Runs of servers on this state, and the revision from which each went on: what a reader has applied belongs to one of them.
CREATE TABLE epochs (seq INTEGER PRIMARY KEY, td TEXT NOT NULL, epoch BLOB NOT NULL, from_revision INTEGER NOT NULL) STRICT;
CREATE INDEX epochs_by_td ON epochs (td, seq);
