-- +goose Up

-- A message that could not be sent is set aside until next_at, so that a stream that takes nothing holds up no other.
-- The first second belongs to the writer, who publishes it. created_at stays what its age is told by.
ALTER TABLE outbox
    ADD COLUMN tries   smallint    NOT NULL DEFAULT 0,
    ADD COLUMN next_at timestamptz NOT NULL DEFAULT now() + interval '1 second';
CREATE INDEX outbox_next ON outbox (next_at);
DROP INDEX outbox_age;
