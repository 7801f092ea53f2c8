-- +goose Up

-- Which bundles decide: one row per change, the newest version in force. The
-- record, of the tenant writ:system, says the rest.
CREATE TABLE rollout (
    version bigint PRIMARY KEY CHECK (version > 0),
    record  uuid NOT NULL
);

-- The archives of bundles, by SHA-256.
CREATE TABLE bundle (
    digest  bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    archive bytea NOT NULL CHECK (octet_length(archive) > 0)
);
