-- +goose Up

-- Addresses for logs that were given out. The end of an attempt that names its log deletes the row: what stays is an
-- object that may exist though nothing names it.
CREATE TABLE upload (
    attempt_uid uuid        PRIMARY KEY,
    key         text        NOT NULL,
    given_at    timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX upload_age ON upload (given_at, attempt_uid);
