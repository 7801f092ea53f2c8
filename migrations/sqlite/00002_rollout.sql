-- +goose Up

-- Which bundles decide: one row per change, the newest version in force. The
-- record, of the tenant writ:system, says the rest.
CREATE TABLE rollout (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    record  BLOB NOT NULL CHECK (length(record) = 16)
) STRICT;

-- The archives of bundles, by SHA-256.
CREATE TABLE bundle (
    digest  BLOB PRIMARY KEY CHECK (length(digest) = 32),
    archive BLOB NOT NULL CHECK (length(archive) > 0)
) STRICT;
