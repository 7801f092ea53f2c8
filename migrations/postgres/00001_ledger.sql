-- +goose Up

-- One row per record of the log. Every column but body is derived from body.
-- Text is compared by bytes, so that Go and the database sort alike.
CREATE TABLE record (
    tenant    text COLLATE "C" NOT NULL CHECK (octet_length(tenant) BETWEEN 1 AND 128),
    id        uuid NOT NULL,
    kind      smallint NOT NULL CHECK (kind BETWEEN 1 AND 127),
    key       text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 128),
    digest    bytea NOT NULL CHECK (octet_length(digest) = 32),
    at        timestamptz NOT NULL,
    caller    text COLLATE "C" NOT NULL,
    principal text COLLATE "C" NOT NULL,
    session   text COLLATE "C" NOT NULL CHECK (octet_length(session) <= 128),
    purpose   text COLLATE "C" NOT NULL,
    phase     smallint NOT NULL CHECK (phase BETWEEN 0 AND 255),
    server    text COLLATE "C" NOT NULL,
    tool      text COLLATE "C" NOT NULL,
    outcome   smallint NOT NULL CHECK (outcome BETWEEN 0 AND 255),
    ticket    text COLLATE "C" NOT NULL,
    bundle    text COLLATE "C" NOT NULL,
    body      bytea NOT NULL CHECK (octet_length(body) > 0),
    leaf      bytea NOT NULL CHECK (octet_length(leaf) = 32),
    PRIMARY KEY (tenant, id),
    CONSTRAINT record_key UNIQUE (tenant, kind, key)
);
CREATE INDEX record_session ON record (tenant, session, id) WHERE session <> '';

-- Records that are not in the tree yet, in the order in which they enter it.
CREATE TABLE pending (
    at     timestamptz NOT NULL,
    id     uuid NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    PRIMARY KEY (at, id, tenant)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The order of the log.
CREATE TABLE leaf (
    idx    bigint PRIMARY KEY CHECK (idx >= 0),
    tenant text COLLATE "C" NOT NULL,
    id     uuid NOT NULL,
    CONSTRAINT leaf_record UNIQUE (tenant, id)
);

-- The tree's tiles, as C2SP tlog-tiles cuts them.
CREATE TABLE tile (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    idx    bigint NOT NULL CHECK (idx >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (level, idx)
);

CREATE TABLE checkpoint (
    size bigint PRIMARY KEY CHECK (size > 0),
    note bytea NOT NULL
);

-- One counter per budget, share of it, and window. Half of each page is left
-- free, so that a changed counter stays on its page and needs no index entry.
CREATE TABLE budget_use (
    tenant       text COLLATE "C" NOT NULL,
    budget       text COLLATE "C" NOT NULL,
    subject      text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    used         bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (tenant, budget, subject, window_start)
) WITH (fillfactor = 50);

CREATE TABLE ticket (
    tenant           text COLLATE "C" NOT NULL,
    id               text COLLATE "C" NOT NULL,
    principal        text COLLATE "C" NOT NULL,
    server           text COLLATE "C" NOT NULL,
    tool             text COLLATE "C" NOT NULL,
    tool_digest      text COLLATE "C" NOT NULL,
    arguments_digest text COLLATE "C" NOT NULL,
    not_before       timestamptz NOT NULL,
    not_after        timestamptz NOT NULL,
    max_uses         bigint NOT NULL,
    uses             bigint NOT NULL DEFAULT 0,
    approvers        text[] NOT NULL,
    revoked          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, id),
    CHECK (uses BETWEEN 0 AND max_uses)
) WITH (fillfactor = 70);

-- Which record used a ticket.
CREATE TABLE ticket_use (
    tenant text COLLATE "C" NOT NULL,
    ticket text COLLATE "C" NOT NULL,
    record uuid NOT NULL,
    PRIMARY KEY (tenant, ticket, record)
);

-- Tokens that were accepted. A token is used up for every tenant at once.
CREATE TABLE used_token (
    token   bytea PRIMARY KEY CHECK (octet_length(token) = 32),
    tenant  text COLLATE "C" NOT NULL,
    record  uuid NOT NULL,
    expires timestamptz NOT NULL
);
