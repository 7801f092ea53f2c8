-- +goose Up

-- Decisions of which some reservations lapse if nobody settles them, until somebody
-- does.
CREATE TABLE lapse (
    tenant   TEXT NOT NULL,
    decision BLOB NOT NULL CHECK (length(decision) = 16),
    at       INTEGER NOT NULL,
    PRIMARY KEY (tenant, decision)
) STRICT, WITHOUT ROWID;
CREATE INDEX lapse_at ON lapse (at);
