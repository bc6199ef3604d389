-- Decisions stand in segments beside the database; their leaves are in the ledger as before.
DROP TABLE decisions;
