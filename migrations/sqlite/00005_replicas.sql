-- +goose Up

-- The servers that decide by this file, as each last told of itself, by its own
-- clock. Nothing rests on it but what the operator is shown.
CREATE TABLE replica (
    id      BLOB PRIMARY KEY CHECK (length(id) = 16),
    name    TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    version INTEGER NOT NULL CHECK (version >= 0), -- of the locks
    applied INTEGER NOT NULL,
    told    INTEGER NOT NULL
) STRICT;
