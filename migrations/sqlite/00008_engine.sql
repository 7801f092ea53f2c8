-- +goose Up

-- One process writes here: there is nobody to agree with on how to wait for each
-- other. The version keeps step with PostgreSQL's.
SELECT 1;
