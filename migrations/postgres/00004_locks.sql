-- +goose Up

-- Which locks are in force: one row per change, the newest version in force. The
-- record, of the tenant writ:system, says the rest.
CREATE TABLE lock_version (
    version bigint PRIMARY KEY CHECK (version > 0),
    record  uuid NOT NULL
);

-- Who decides reads this first of all in its transaction, with the newest version;
-- who changes the locks locks it, and so waits for what was decided by the version
-- before, and lets nothing pass until there is the next. It is a table of its own,
-- because others read the versions, and for long.
CREATE TABLE lock_fence (
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO lock_fence DEFAULT VALUES;
