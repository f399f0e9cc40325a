-- +goose Up

-- An index of an expression cannot be used below a policy, so the key of a class is kept. The leader writes all gates again in
-- its first pass.
DELETE FROM gate;
DROP INDEX gate_key;
ALTER TABLE gate ADD COLUMN key text NOT NULL GENERATED ALWAYS AS (class_key(placement_class)) STORED;
CREATE UNIQUE INDEX gate_key ON gate (org_id, job_type, key);
