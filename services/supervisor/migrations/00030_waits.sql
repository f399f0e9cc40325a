-- +goose NO TRANSACTION
-- +goose Up

-- Built beside the writers: the tables may be large.
SET lock_timeout = 0;
SET statement_timeout = 0;

-- Tasks by name: conditions, templates and people ask for few of a run's many. Items are found by their group.
DROP INDEX CONCURRENTLY IF EXISTS task_named;
CREATE INDEX CONCURRENTLY task_named ON task (execution_id, name) WHERE group_idx IS NULL;

-- Tasks that wait for a job, their own or those of others, or for a chore.
DROP INDEX CONCURRENTLY IF EXISTS task_waits_child;
CREATE INDEX CONCURRENTLY task_waits_child ON task (execution_id, idx) WHERE state = 'WAITING' AND wait_gate = 'child';
DROP INDEX CONCURRENTLY IF EXISTS task_awaits;
CREATE INDEX CONCURRENTLY task_awaits ON task (execution_id, idx)
    WHERE state = 'WAITING' AND wait_gate = 'child' AND method = 'AWAIT_FORKED_JOB';

-- Children that have not ended: of thousands of a run one that has ended asks whether another has not.
DROP INDEX CONCURRENTLY IF EXISTS child_open;
CREATE INDEX CONCURRENTLY child_open ON child (execution_id, task_idx) WHERE ended_at IS NULL;

RESET lock_timeout;
RESET statement_timeout;
