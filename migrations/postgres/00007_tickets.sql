-- +goose Up

-- A ticket is what the record of its newest version says. Beside that there is what
-- redeeming it takes: whether it is approved, and how often it was redeemed and can
-- be. A ticket from before has no record and covers nothing any more (version 0): its
-- uses stay, because records speak of them.
ALTER TABLE ticket
    ADD COLUMN version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    ADD COLUMN state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 4),
    ADD COLUMN record uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    DROP COLUMN principal,
    DROP COLUMN server,
    DROP COLUMN tool,
    DROP COLUMN tool_digest,
    DROP COLUMN arguments_digest,
    DROP COLUMN not_before,
    DROP COLUMN not_after,
    DROP COLUMN approvers,
    DROP COLUMN revoked;
