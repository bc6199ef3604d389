-- Whom an alert concerns, so that one agent cannot fill the list.
ALTER TABLE alerts ADD COLUMN agent TEXT NOT NULL DEFAULT '';
UPDATE alerts SET agent = json_extract(value, '$.agent');
CREATE INDEX alerts_by_agent ON alerts (td, agent, id);

-- From which network a device showed itself last, so that one network cannot push others off the list of those that wait; and when its
-- approval was taken back.
ALTER TABLE devices ADD COLUMN network TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN revoked_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX devices_that_wait ON devices (td, key) WHERE node IS NULL AND approved_by IS NULL;
