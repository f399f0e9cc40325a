-- +goose Up
-- Outputs of more than 64 KiB are given in files, up to 8 MiB of them; the name '' tells how many outputs have no room.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION environment(run uuid, most int) RETURNS TABLE (key text, content text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    o output%ROWTYPE;
    total bigint := 0;
    files bigint := 0;
    given int := 0;
    missing bigint := 0;
BEGIN
    FOR o IN SELECT * FROM output WHERE execution_id = run AND output.bytes <= 65536 AND output.name ~ '^[A-Za-z_][A-Za-z0-9_]*$'
        ORDER BY output.bytes, output.name DESC LOOP
        IF total > most THEN
            SELECT count(*) - given INTO missing FROM output
                WHERE execution_id = run AND output.bytes <= 65536 AND output.name ~ '^[A-Za-z_][A-Za-z0-9_]*$';
            EXIT;
        END IF;
        total := total + octet_length(o.name) + o.bytes + 2;
        given := given + 1;
        key := o.name;
        content := o.value;
        RETURN NEXT;
    END LOOP;
    given := 0;
    FOR o IN SELECT * FROM output WHERE execution_id = run AND output.bytes > 65536 AND output.name ~ '^[A-Za-z_][A-Za-z0-9_]*$'
        ORDER BY output.bytes, output.name LOOP
        files := files + o.bytes;
        IF files > 8388608 THEN
            SELECT missing + count(*) - given INTO missing FROM output
                WHERE execution_id = run AND output.bytes > 65536 AND output.name ~ '^[A-Za-z_][A-Za-z0-9_]*$';
            EXIT;
        END IF;
        given := given + 1;
        key := o.name;
        content := o.value;
        RETURN NEXT;
    END LOOP;
    IF missing > 0 THEN
        key := '';
        content := missing::text;
        RETURN NEXT;
    END IF;
END $$;
-- +goose StatementEnd
