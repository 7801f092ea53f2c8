-- +goose Up

-- One process has the file: it has nobody to lease from. This keeps the versions
-- of both engines in step.
SELECT 1;
