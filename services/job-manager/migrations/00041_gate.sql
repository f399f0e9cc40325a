-- +goose Up

-- A class of many tags is longer than an entry of an index may be: its key is its beginning and a hash then.
-- +goose StatementBegin
CREATE FUNCTION class_key(class text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(class) <= 300 THEN class ELSE left(class, 270) || hashtextextended(class, 0)::text END
$$;
-- +goose StatementEnd

-- The leader writes all gates again in its first pass; what is stored may name one twice, so nothing is kept.
DELETE FROM gate;
CREATE UNIQUE INDEX gate_key ON gate (org_id, job_type, class_key(placement_class));
