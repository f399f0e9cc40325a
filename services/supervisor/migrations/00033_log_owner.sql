-- +goose NO TRANSACTION
-- +goose Up

-- Whose log an attempt has, written with its end: EXPIRE_ARTIFACTS looks for the logs of one organisation. Attempts that
-- ended before have none here; supervisor gives them theirs in small portions before it looks.
ALTER TABLE attempt ADD COLUMN IF NOT EXISTS org_id text NOT NULL DEFAULT '';

-- Built beside the writers: the table may be large.
SET lock_timeout = 0;
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS attempt_log_of_org;
CREATE INDEX CONCURRENTLY attempt_log_of_org ON attempt (org_id, ended_at, uid) WHERE log_key <> '';
DROP INDEX CONCURRENTLY IF EXISTS attempt_log;
RESET lock_timeout;
RESET statement_timeout;
