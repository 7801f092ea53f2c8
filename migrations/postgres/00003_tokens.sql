-- +goose Up

-- Tokens that were accepted, by the hour in which they expire, six hours in turn:
-- whole partitions are emptied, and no row is deleted. A release that knows no
-- partitions cannot write here: beside this schema it answers nothing.
ALTER TABLE used_token RENAME TO used_token_before;
CREATE TABLE used_token (
    token   bytea NOT NULL CHECK (octet_length(token) = 32),
    tenant  text COLLATE "C" NOT NULL,
    record  uuid NOT NULL,
    expires timestamptz NOT NULL,
    slot    smallint NOT NULL,
    PRIMARY KEY (token, slot),
    CHECK (slot = floor(extract(epoch FROM expires) / 3600)::bigint % 6)
) PARTITION BY LIST (slot);
CREATE TABLE used_token_0 PARTITION OF used_token FOR VALUES IN (0);
CREATE TABLE used_token_1 PARTITION OF used_token FOR VALUES IN (1);
CREATE TABLE used_token_2 PARTITION OF used_token FOR VALUES IN (2);
CREATE TABLE used_token_3 PARTITION OF used_token FOR VALUES IN (3);
CREATE TABLE used_token_4 PARTITION OF used_token FOR VALUES IN (4);
CREATE TABLE used_token_5 PARTITION OF used_token FOR VALUES IN (5);
INSERT INTO used_token (token, tenant, record, expires, slot)
    SELECT token, tenant, record, expires, floor(extract(epoch FROM expires) / 3600)::bigint % 6 FROM used_token_before;
DROP TABLE used_token_before;

-- The hour, since 1970, before which tokens may be forgotten: one that expires
-- earlier is not accepted any more, whatever a replica's clock says. One row.
CREATE TABLE token_horizon (
    hour bigint NOT NULL,
    one  boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO token_horizon (hour) VALUES (0);

-- Moves the horizon to the hour before a time, by the server's clock at most, and
-- empties the partition whose turn comes last. It is the owner's, so that who
-- decides needs no right to empty tables. Who commits a token reads its partition
-- first and the horizon then, so that either waits for the other. Where somebody
-- reads the partition for long, this gives up soon: whoever waits behind it decides.
-- +goose StatementBegin
CREATE FUNCTION forget_tokens(until timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    now_hour constant bigint := floor(extract(epoch FROM least(until, clock_timestamp())) / 3600)::bigint - 1;
    was bigint;
    live boolean;
    partition constant text := format('used_token_%s', (now_hour + 5) % 6);
BEGIN
    SELECT hour INTO was FROM token_horizon FOR UPDATE;
    IF was >= now_hour THEN
        RETURN was;
    END IF;
    -- Somebody's clock was hours ahead: then what it accepted stays for a turn more.
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE expires >= to_timestamp($1))', partition) INTO live USING now_hour * 3600;
    IF NOT live THEN
        EXECUTE format('TRUNCATE %I', partition);
    END IF;
    UPDATE token_horizon SET hour = now_hour;
    RETURN now_hour;
END
$$;
-- +goose StatementEnd
