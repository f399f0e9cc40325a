-- +goose Up

-- A class of many tags is longer than an entry of an index may be. Its key is the class itself, or its beginning, which
-- names the organisation, and a hash: whose classes share a key is one organisation's own doing.
-- +goose StatementBegin
CREATE FUNCTION class_key(class text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(class) <= 500 THEN class ELSE left(class, 470) || hashtextextended(class, 0)::text END
$$;
-- +goose StatementEnd

DROP INDEX task_ready;
CREATE INDEX task_ready ON task (class_key(class), priority DESC, ready_at, execution_id, idx) WHERE state = 'READY';

-- What it held is found again by the next look.
DROP TABLE class_wait;
CREATE TABLE class_wait (
    class      text        NOT NULL,
    gate       text        NOT NULL,
    reason     text        NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX class_wait_key ON class_wait (class_key(class));
