-- +goose Up

-- What tokens of redactions stand for: sealed, for who has the key. record is the
-- decision that put it here; another that comes to the same token leaves it.
CREATE TABLE vault (
    tenant text COLLATE "C" NOT NULL,
    token  text COLLATE "C" NOT NULL,
    class  text COLLATE "C" NOT NULL,
    sealed bytea NOT NULL CHECK (length(sealed) BETWEEN 1 AND 4160),
    record uuid NOT NULL,
    PRIMARY KEY (tenant, token)
);
