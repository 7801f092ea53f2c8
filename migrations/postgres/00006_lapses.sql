-- +goose Up

-- Decisions of which some reservations lapse if nobody settles them, until somebody
-- does.
CREATE TABLE lapse (
    tenant   text COLLATE "C" NOT NULL,
    decision uuid NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (tenant, decision)
);
CREATE INDEX lapse_at ON lapse (at, tenant, decision);
