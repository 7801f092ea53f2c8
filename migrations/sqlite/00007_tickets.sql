-- +goose Up

-- A ticket is what the record of its newest version says. Beside that there is what
-- redeeming it takes: whether it is approved, and how often it was redeemed and can
-- be. A ticket from before has no record and covers nothing any more (version 0): its
-- uses stay, because records speak of them.
CREATE TABLE ticket_now (
    tenant   TEXT NOT NULL,
    id       TEXT NOT NULL,
    version  INTEGER NOT NULL CHECK (version >= 0),
    state    INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    record   BLOB NOT NULL CHECK (length(record) = 16),
    max_uses INTEGER NOT NULL,
    uses     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id),
    CHECK (uses BETWEEN 0 AND max_uses)
) STRICT, WITHOUT ROWID;
INSERT INTO ticket_now (tenant, id, version, state, record, max_uses, uses)
    SELECT tenant, id, 0, 0, zeroblob(16), max_uses, uses FROM ticket;
DROP TABLE ticket;
ALTER TABLE ticket_now RENAME TO ticket;
