-- +goose NO TRANSACTION
-- +goose Up

-- A class of many tags is longer than an entry of an index may be. Its key is the class itself, or its beginning, which
-- names the organisation, and a hash: whose classes share a key is one organisation's own doing.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION class_key(class text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(class) <= 500 THEN class ELSE left(class, 470) || hashtextextended(class, 0)::text END
$$;
-- +goose StatementEnd

-- Built beside the writers: few tasks are READY, but to find them the whole table is read.
SET lock_timeout = 0;
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS task_ready_key;
CREATE INDEX CONCURRENTLY task_ready_key ON task (class_key(class), priority DESC, ready_at, execution_id, idx) WHERE state = 'READY';
DROP INDEX CONCURRENTLY IF EXISTS task_ready;
RESET lock_timeout;
RESET statement_timeout;

-- What it held is found again by the next look.
DROP TABLE IF EXISTS class_wait;
CREATE TABLE class_wait (
    class      text        NOT NULL,
    gate       text        NOT NULL,
    reason     text        NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX class_wait_key ON class_wait (class_key(class));
