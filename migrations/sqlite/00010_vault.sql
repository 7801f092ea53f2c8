-- +goose Up

-- What tokens of redactions stand for: sealed, for who has the key. record is the
-- decision that put it here; another that comes to the same token leaves it.
CREATE TABLE vault (
    tenant TEXT NOT NULL,
    token  TEXT NOT NULL,
    class  TEXT NOT NULL,
    sealed BLOB NOT NULL CHECK (length(sealed) BETWEEN 1 AND 4160),
    record BLOB NOT NULL CHECK (length(record) = 16),
    PRIMARY KEY (tenant, token)
) STRICT, WITHOUT ROWID;
