-- +goose Up

-- One row per record of the log. Every column but body is derived from body.
-- Times are Unix microseconds.
CREATE TABLE record (
    tenant    TEXT NOT NULL CHECK (octet_length(tenant) BETWEEN 1 AND 128),
    id        BLOB NOT NULL CHECK (length(id) = 16),
    kind      INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 127),
    key       TEXT NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 128),
    digest    BLOB NOT NULL CHECK (length(digest) = 32),
    at        INTEGER NOT NULL,
    caller    TEXT NOT NULL,
    principal TEXT NOT NULL,
    session   TEXT NOT NULL CHECK (octet_length(session) <= 128),
    purpose   TEXT NOT NULL,
    phase     INTEGER NOT NULL CHECK (phase BETWEEN 0 AND 255),
    server    TEXT NOT NULL,
    tool      TEXT NOT NULL,
    outcome   INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 255),
    ticket    TEXT NOT NULL,
    bundle    TEXT NOT NULL,
    body      BLOB NOT NULL CHECK (length(body) > 0),
    leaf      BLOB NOT NULL CHECK (length(leaf) = 32),
    PRIMARY KEY (tenant, id),
    CONSTRAINT record_key UNIQUE (tenant, kind, key)
) STRICT;
CREATE INDEX record_session ON record (tenant, session, id) WHERE session <> '';

-- Records that are not in the tree yet, in the order in which they enter it.
CREATE TABLE pending (
    at     INTEGER NOT NULL,
    id     BLOB NOT NULL,
    tenant TEXT NOT NULL,
    PRIMARY KEY (at, id, tenant)
) STRICT, WITHOUT ROWID;

-- The order of the log.
CREATE TABLE leaf (
    idx    INTEGER PRIMARY KEY CHECK (idx >= 0),
    tenant TEXT NOT NULL,
    id     BLOB NOT NULL,
    CONSTRAINT leaf_record UNIQUE (tenant, id)
) STRICT;

-- The tree's tiles, as C2SP tlog-tiles cuts them.
CREATE TABLE tile (
    level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),
    idx    INTEGER NOT NULL CHECK (idx >= 0),
    hashes BLOB NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, idx)
) STRICT;

CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY CHECK (size > 0),
    note BLOB NOT NULL
) STRICT;

-- One counter per budget, share of it, and window.
CREATE TABLE budget_use (
    tenant       TEXT NOT NULL,
    budget       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    used         INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (tenant, budget, subject, window_start)
) STRICT, WITHOUT ROWID;

-- Approvers is a JSON array of strings.
CREATE TABLE ticket (
    tenant           TEXT NOT NULL,
    id               TEXT NOT NULL,
    principal        TEXT NOT NULL,
    server           TEXT NOT NULL,
    tool             TEXT NOT NULL,
    tool_digest      TEXT NOT NULL,
    arguments_digest TEXT NOT NULL,
    not_before       INTEGER NOT NULL,
    not_after        INTEGER NOT NULL,
    max_uses         INTEGER NOT NULL,
    uses             INTEGER NOT NULL DEFAULT 0,
    approvers        TEXT NOT NULL CHECK (json_valid(approvers)),
    revoked          INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    PRIMARY KEY (tenant, id),
    CHECK (uses BETWEEN 0 AND max_uses)
) STRICT, WITHOUT ROWID;

-- Which record used a ticket.
CREATE TABLE ticket_use (
    tenant TEXT NOT NULL,
    ticket TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (tenant, ticket, record)
) STRICT, WITHOUT ROWID;

-- Tokens that were accepted. A token is used up for every tenant at once.
CREATE TABLE used_token (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
