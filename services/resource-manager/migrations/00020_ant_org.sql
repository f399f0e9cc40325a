-- +goose Up

-- The organisation that an ant is offered to; '' for one of the platform, which works for all.
ALTER TABLE ant ADD COLUMN org_id text NOT NULL DEFAULT '';
