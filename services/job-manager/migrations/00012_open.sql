-- +goose NO TRANSACTION
-- +goose Up

-- Indexes are built beside the traffic. A build that was interrupted leaves an invalid index, so each is dropped first.
SET statement_timeout = 0;
SET lock_timeout = 0;

-- Lists: every state that a filter names is read through its own part of an index, the newest first.
DROP INDEX CONCURRENTLY IF EXISTS request_by_state;
CREATE INDEX CONCURRENTLY request_by_state ON request (org_id, state, id);
DROP INDEX CONCURRENTLY IF EXISTS request_by_type_state;
CREATE INDEX CONCURRENTLY request_by_type_state ON request (org_id, job_type, state, id);
DROP INDEX CONCURRENTLY IF EXISTS request_by_parent_state;
CREATE INDEX CONCURRENTLY request_by_parent_state ON request (parent_request_id, state, id) WHERE parent_request_id IS NOT NULL;

-- Everything that supervisor may know more of than this service, by the time at which it is asked. Only a statement that
-- asks for a time can use it: those that look for what is active have a better one.
DROP INDEX CONCURRENTLY IF EXISTS request_silent;
CREATE INDEX CONCURRENTLY request_silent ON request (check_at) WHERE check_at IS NOT NULL AND (state IN ('READY', 'EXECUTING')
    OR state IN ('PENDING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED') AND (execution_version > 0 OR cancel_requested_at IS NOT NULL));

DROP INDEX CONCURRENTLY IF EXISTS request_rare;
DROP INDEX CONCURRENTLY IF EXISTS request_by_type;
DROP INDEX CONCURRENTLY IF EXISTS request_by_parent;
DROP INDEX CONCURRENTLY IF EXISTS request_cancel;

RESET lock_timeout;
RESET statement_timeout;
