-- +goose Up

-- pending_ms is how long the request may wait for the start of a run, 0 for as long as it takes; pending_until is when
-- that passes for the run that waits.
ALTER TABLE request ADD COLUMN pending_ms bigint NOT NULL DEFAULT 0, ADD COLUMN pending_until timestamptz;
