-- +goose Up

-- Tokens that were accepted, by the hour in which they expire, six hours in turn:
-- whole tables are emptied, and no row is deleted by itself.
CREATE TABLE used_token_0 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE used_token_1 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 1)
) STRICT, WITHOUT ROWID;
CREATE TABLE used_token_2 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 2)
) STRICT, WITHOUT ROWID;
CREATE TABLE used_token_3 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 3)
) STRICT, WITHOUT ROWID;
CREATE TABLE used_token_4 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 4)
) STRICT, WITHOUT ROWID;
CREATE TABLE used_token_5 (
    token   BLOB PRIMARY KEY CHECK (length(token) = 32),
    tenant  TEXT NOT NULL,
    record  BLOB NOT NULL,
    expires INTEGER NOT NULL CHECK (expires / 3600000000 % 6 = 5)
) STRICT, WITHOUT ROWID;
INSERT INTO used_token_0 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 0;
INSERT INTO used_token_1 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 1;
INSERT INTO used_token_2 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 2;
INSERT INTO used_token_3 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 3;
INSERT INTO used_token_4 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 4;
INSERT INTO used_token_5 SELECT token, tenant, record, expires FROM used_token WHERE expires / 3600000000 % 6 = 5;
DROP TABLE used_token;

-- The hour, since 1970, before which tokens may be forgotten: one that expires
-- earlier is not accepted any more, whatever the clock says. One row.
CREATE TABLE token_horizon (
    hour INTEGER NOT NULL,
    one  INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1)
) STRICT;
INSERT INTO token_horizon (hour) VALUES (0);
