-- +goose Up

-- What the servers of this database may ask of it. Where it is compatible, they use
-- neither NOTIFY nor locks on tables: for engines that speak PostgreSQL's protocol
-- and lack these. All of them must do the same, so it stands here; it is changed
-- while none of them runs. One row.
CREATE TABLE engine (
    compatible boolean NOT NULL,
    one        boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO engine (compatible) VALUES (false);

-- Who extends the log holds this row meanwhile. An earlier release holds an advisory
-- lock in its place: beside it both may try, and the keys of leaf and checkpoint let
-- one of them through.
CREATE TABLE sequencer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO sequencer DEFAULT VALUES;
