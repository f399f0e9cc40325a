-- +goose NO TRANSACTION
-- +goose Up

-- Built beside the writers: the table may be large.
SET lock_timeout = 0;
SET statement_timeout = 0;

-- Artifacts by the name of their task alone, that of an item or of the task that fans out.
DROP INDEX CONCURRENTLY IF EXISTS artifact_of_task;
CREATE INDEX CONCURRENTLY artifact_of_task ON artifact (org_id, task, created_at, id);
DROP INDEX CONCURRENTLY IF EXISTS artifact_of_group;
CREATE INDEX CONCURRENTLY artifact_of_group ON artifact (org_id, group_task, created_at, id) WHERE group_task <> '';
