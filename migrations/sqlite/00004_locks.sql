-- +goose Up

-- Which locks are in force: one row per change, the newest version in force. The
-- record, of the tenant writ:system, says the rest.
CREATE TABLE lock_version (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    record  BLOB NOT NULL CHECK (length(record) = 16)
) STRICT;
