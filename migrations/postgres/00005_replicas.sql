-- +goose Up

-- The servers that decide by this database, as each last told of itself, by its own
-- clock. Nothing rests on it but what the operator is shown, so that it need not
-- outlive a crash.
CREATE UNLOGGED TABLE replica (
    id      uuid PRIMARY KEY,
    name    text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    version bigint NOT NULL CHECK (version >= 0), -- of the locks
    applied timestamptz NOT NULL,
    told    timestamptz NOT NULL
);
