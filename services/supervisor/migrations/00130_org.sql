-- +goose Up

-- Whose every row is. '' means that it is not noted yet: the next step notes it in small portions.
ALTER TABLE task
    ADD COLUMN org_id text NOT NULL DEFAULT '',
    -- class_text is the class when that is longer than an entry of an index may be: class holds its key then
    ADD COLUMN class_text text;
ALTER TABLE edge ADD COLUMN org_id text NOT NULL DEFAULT '';
ALTER TABLE child ADD COLUMN org_id text NOT NULL DEFAULT '';
ALTER TABLE vote ADD COLUMN org_id text NOT NULL DEFAULT '';
ALTER TABLE output ADD COLUMN org_id text NOT NULL DEFAULT '';

-- take_org gives a row the organisation of its run, where the writer did not: a replica of the version before knows nothing
-- of it. A row without a run belongs to nobody.
-- +goose StatementBegin
CREATE FUNCTION take_org() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.org_id := coalesce((SELECT e.org_id FROM execution e WHERE e.id = NEW.execution_id), '?');
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER take_org BEFORE INSERT ON task FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();
CREATE TRIGGER take_org BEFORE INSERT ON edge FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();
-- that version empties it with the end of an attempt which keeps no log
CREATE TRIGGER take_org BEFORE INSERT OR UPDATE OF org_id ON attempt FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();
CREATE TRIGGER take_org BEFORE INSERT ON child FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();
CREATE TRIGGER take_org BEFORE INSERT ON vote FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION note_outputs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO output AS o (execution_id, name, value, bytes, task_idx, ended_at, org_id)
    SELECT NEW.execution_id, e.key, e.value, octet_length(e.value), NEW.idx, NEW.ended_at, NEW.org_id
    FROM json_each_text(NEW.outputs) e WHERE e.value IS NOT NULL AND octet_length(e.key) <= 512
    ON CONFLICT (execution_id, name) DO UPDATE
    SET value = excluded.value, bytes = excluded.bytes, task_idx = excluded.task_idx, ended_at = excluded.ended_at
    WHERE (o.ended_at, o.task_idx) <= (excluded.ended_at, excluded.task_idx);
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- a task of the version before has no organisation to give yet
CREATE TRIGGER take_org BEFORE INSERT ON output FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org();

-- An index of an expression cannot be used below a policy: whoever may see a row has to be asked first. So the key of a long
-- class is kept instead of computed.
-- +goose StatementBegin
CREATE FUNCTION shorten_class() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF length(NEW.class) > 500 THEN
        NEW.class_text := NEW.class;
        NEW.class := class_key(NEW.class);
    ELSIF TG_OP = 'UPDATE' AND NEW.class <> OLD.class THEN
        NEW.class_text := NULL;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER shorten_class BEFORE INSERT OR UPDATE OF class ON task FOR EACH ROW
    WHEN (length(NEW.class) > 500 OR NEW.class_text IS NOT NULL) EXECUTE FUNCTION shorten_class();

-- What it held is found again by the next look.
DROP TABLE class_wait;
CREATE TABLE class_wait (
    org_id     text        NOT NULL,
    key        text        PRIMARY KEY, -- class_key() of the class
    class      text        NOT NULL,
    gate       text        NOT NULL,
    reason     text        NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Addresses and releases that are under way are few, and old ones are deleted.
ALTER TABLE upload ADD COLUMN org_id text NOT NULL DEFAULT '';
UPDATE upload u SET org_id = coalesce((SELECT e.org_id FROM attempt a JOIN execution e ON e.id = a.execution_id WHERE a.uid = u.attempt_uid), '?');
-- +goose StatementBegin
CREATE FUNCTION take_org_of_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.org_id := coalesce((SELECT e.org_id FROM attempt a JOIN execution e ON e.id = a.execution_id WHERE a.uid = NEW.attempt_uid), '?');
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER take_org BEFORE INSERT ON upload FOR EACH ROW WHEN (NEW.org_id = '') EXECUTE FUNCTION take_org_of_attempt();
