-- What was known of a device's machine when its node was removed last, in the form of its attestor, and when that was.
ALTER TABLE devices ADD COLUMN remembered TEXT;
ALTER TABLE devices ADD COLUMN removed_ms INTEGER NOT NULL DEFAULT 0;
