-- +goose Up

-- The outputs of a run by name, each as the last task that completed gave it: what later tasks see. A run of thousands
-- of tasks holds many outputs of which a task asks for few. bytes are those of the value.
CREATE TABLE output (
    execution_id uuid             NOT NULL,
    name         text COLLATE "C" NOT NULL,
    value        text             NOT NULL,
    bytes        int              NOT NULL,
    task_idx     int              NOT NULL,
    ended_at     timestamptz      NOT NULL,
    PRIMARY KEY (execution_id, name)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
-- what a process can get as environment: the shortest first, because the longest are left out
CREATE INDEX output_size ON output (execution_id, bytes, name DESC) WHERE bytes <= 65536 AND name ~ '^[A-Za-z_][A-Za-z0-9_]*$';

-- note_outputs keeps the table as tasks complete, whoever writes them: also a replica of an older version. Outputs of
-- items are their group's affair. A longer name fits no index, and nobody can ask for it.
-- +goose StatementBegin
CREATE FUNCTION note_outputs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO output AS o (execution_id, name, value, bytes, task_idx, ended_at)
    SELECT NEW.execution_id, e.key, e.value, octet_length(e.value), NEW.idx, NEW.ended_at
    FROM json_each_text(NEW.outputs) e WHERE e.value IS NOT NULL AND octet_length(e.key) <= 512
    ON CONFLICT (execution_id, name) DO UPDATE
    SET value = excluded.value, bytes = excluded.bytes, task_idx = excluded.task_idx, ended_at = excluded.ended_at
    WHERE (o.ended_at, o.task_idx) <= (excluded.ended_at, excluded.task_idx);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER note_outputs AFTER UPDATE OF state ON task FOR EACH ROW
    WHEN (NEW.state = 'COMPLETED' AND OLD.state <> 'COMPLETED' AND NEW.outputs IS NOT NULL AND NEW.group_idx IS NULL)
    EXECUTE FUNCTION note_outputs();
CREATE TRIGGER note_outputs_of_new AFTER INSERT ON task FOR EACH ROW
    WHEN (NEW.state = 'COMPLETED' AND NEW.outputs IS NOT NULL AND NEW.group_idx IS NULL)
    EXECUTE FUNCTION note_outputs();

-- environment returns the outputs of a run that the environment of a process may hold: names that a shell can use, the
-- shortest values first, until they are more than fits. It stops there, however many there are.
-- +goose StatementBegin
CREATE FUNCTION environment(run uuid, most int) RETURNS TABLE (key text, content text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    o output%ROWTYPE;
    total bigint := 0;
BEGIN
    FOR o IN SELECT * FROM output WHERE execution_id = run AND output.bytes <= 65536 AND output.name ~ '^[A-Za-z_][A-Za-z0-9_]*$'
        ORDER BY output.bytes, output.name DESC LOOP
        EXIT WHEN total > most;
        total := total + octet_length(o.name) + o.bytes + 2;
        key := o.name;
        content := o.value;
        RETURN NEXT;
    END LOOP;
END $$;
-- +goose StatementEnd
