-- +goose Up

-- Processes that may have leases, each under an id of its own that no other ever
-- has. told is by this server's clock. Whoever counts on a lease holds a key share
-- lock of its row until its commit; whoever takes the leases away deletes the row
-- first, and so waits for those commits and lets no further one pass. Half of each
-- page is left free for told.
CREATE TABLE lease_holder (
    id   uuid PRIMARY KEY,
    told timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What a holder may still charge to a counter without touching it. budget_use.used
-- counts it: used is the charges of all records and all that is leased and unspent.
-- A release that knows no leases counts it as used as well, and charges no more
-- than the rest.
CREATE TABLE lease (
    holder       uuid NOT NULL,
    tenant       text COLLATE "C" NOT NULL,
    budget       text COLLATE "C" NOT NULL,
    subject      text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    unspent      bigint NOT NULL CHECK (unspent >= 0),
    PRIMARY KEY (holder, tenant, budget, subject, window_start)
) WITH (fillfactor = 50);
