-- +goose NO TRANSACTION
-- +goose Up

-- A few runs at a time and under their locks, in the order in which every step takes them: nobody waits for long, and what
-- was done before a failure stays done.
SET lock_timeout = 0;
SET statement_timeout = 0;
-- +goose StatementBegin
DO $$
DECLARE
    runs uuid[];
    last uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    LOOP
        SELECT array_agg(x.id ORDER BY x.id) INTO runs FROM (
            SELECT f.id, sum(f.tasks_total) OVER (ORDER BY f.id) - f.tasks_total AS before FROM (
                SELECT e.id, e.tasks_total FROM execution e WHERE e.id > last ORDER BY e.id LIMIT 500) f) x
        WHERE x.before < 2000;
        EXIT WHEN runs IS NULL;
        last := runs[cardinality(runs)];
        SET LOCAL synchronous_commit = off;
        PERFORM FROM execution e WHERE e.id = ANY(runs) ORDER BY e.id FOR NO KEY UPDATE;
        PERFORM FROM attempt a WHERE a.execution_id = ANY(runs) AND a.org_id = '' ORDER BY a.uid FOR NO KEY UPDATE;
        UPDATE attempt t SET org_id = e.org_id FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        UPDATE task t SET org_id = e.org_id, class = t.class FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        UPDATE edge t SET org_id = e.org_id FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        UPDATE child t SET org_id = e.org_id FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        UPDATE vote t SET org_id = e.org_id FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        UPDATE output t SET org_id = e.org_id FROM execution e WHERE e.id = ANY(runs) AND t.execution_id = e.id AND t.org_id = '';
        COMMIT;
    END LOOP;
END $$;
-- +goose StatementEnd

-- What has no run belongs to nobody.
UPDATE attempt SET org_id = '?' WHERE org_id = '';
UPDATE task SET org_id = '?', class = class WHERE org_id = '';
UPDATE edge SET org_id = '?' WHERE org_id = '';
UPDATE child SET org_id = '?' WHERE org_id = '';
UPDATE vote SET org_id = '?' WHERE org_id = '';
UPDATE output SET org_id = '?' WHERE org_id = '';

-- From here on no row is without one. The tables are read beside the writers.
ALTER TABLE attempt DROP CONSTRAINT IF EXISTS attempt_org, ADD CONSTRAINT attempt_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE attempt VALIDATE CONSTRAINT attempt_org;
ALTER TABLE task DROP CONSTRAINT IF EXISTS task_org, ADD CONSTRAINT task_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE task VALIDATE CONSTRAINT task_org;
ALTER TABLE edge DROP CONSTRAINT IF EXISTS edge_org, ADD CONSTRAINT edge_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE edge VALIDATE CONSTRAINT edge_org;
ALTER TABLE child DROP CONSTRAINT IF EXISTS child_org, ADD CONSTRAINT child_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE child VALIDATE CONSTRAINT child_org;
ALTER TABLE vote DROP CONSTRAINT IF EXISTS vote_org, ADD CONSTRAINT vote_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE vote VALIDATE CONSTRAINT vote_org;
ALTER TABLE output DROP CONSTRAINT IF EXISTS output_org, ADD CONSTRAINT output_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE output VALIDATE CONSTRAINT output_org;
ALTER TABLE upload DROP CONSTRAINT IF EXISTS upload_org, ADD CONSTRAINT upload_org CHECK (org_id <> '') NOT VALID;
ALTER TABLE upload VALIDATE CONSTRAINT upload_org;

-- Built beside the writers. The index of the expression goes.
DROP INDEX CONCURRENTLY IF EXISTS task_ready_class;
CREATE INDEX CONCURRENTLY task_ready_class ON task (class, priority DESC, ready_at, execution_id, idx) WHERE state = 'READY';
DROP INDEX CONCURRENTLY IF EXISTS task_ready_key;
RESET lock_timeout;
RESET statement_timeout;
