-- +goose Up

-- deaf: why the ant does not hear its doorbells, by its own word. heard counts its answered claims, as last reported.
-- unclaimed counts attempts in a row that it did not claim in time, the last of them at unclaimed_at. After too many it
-- is avoided for avoid_ms, until avoided_until; then it gets one attempt at a time until it claims one.
ALTER TABLE ant
    ADD COLUMN deaf          text   NOT NULL DEFAULT '',
    ADD COLUMN heard         bigint NOT NULL DEFAULT 0,
    ADD COLUMN unclaimed     int    NOT NULL DEFAULT 0 CHECK (unclaimed >= 0),
    ADD COLUMN unclaimed_at  timestamptz,
    ADD COLUMN avoid_ms      bigint NOT NULL DEFAULT 0,
    ADD COLUMN avoided_until timestamptz;

-- Ants in the order in which they are placed on: those with the most free slots first. It takes every change of used out
-- of the heap-only updates, but those are few beside the beats, which stay heap-only.
CREATE INDEX ant_rank ON ant ((offered - used) DESC, offered, id) WHERE state = 'ONLINE' AND deaf = '' AND unclaimed = 0;
CREATE INDEX ant_doubted ON ant (id) WHERE state = 'ONLINE' AND deaf = '' AND unclaimed > 0;

-- Whether asks were refused for lack of slots since slots last became free, on any replica. One row.
CREATE TABLE hunger (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    waiting boolean NOT NULL DEFAULT false
) WITH (fillfactor = 10);
INSERT INTO hunger DEFAULT VALUES;
