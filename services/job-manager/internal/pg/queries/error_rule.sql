-- name: RulesOf :many
SELECT * FROM error_rule WHERE org_id = $1 ORDER BY id;

-- name: CountRules :one
SELECT count(*) FROM error_rule WHERE org_id = $1;

-- name: InsertRule :one
INSERT INTO error_rule (id, org_id, job_type, task, platform, command, regex, exit_code, error_code, description, display_message,
    display_code, action, retry, updated_at, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now(), $15)
RETURNING *;

-- name: UpdateRule :one
UPDATE error_rule SET job_type = $3, task = $4, platform = $5, command = $6, regex = $7, exit_code = $8, error_code = $9,
    description = $10, display_message = $11, display_code = $12, action = $13, retry = $14, updated_at = now(), updated_by = $15
WHERE id = $1 AND org_id = $2
RETURNING *;

-- name: DeleteRule :execrows
DELETE FROM error_rule WHERE id = $1 AND org_id = $2;

-- name: CountRuleChange :exec
-- Its lock orders the changes.
UPDATE error_rule_change SET count = count + 1;
