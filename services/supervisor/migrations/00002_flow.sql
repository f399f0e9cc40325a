-- +goose Up

-- active counts tasks that go on without a person: READY, DISPATCHED, or WAITING for a time or a child; approvals those
-- that wait for votes. tasks_planned are the tasks of the plan: items have indexes from there on, so that a range of the
-- primary key finds the ones without the others. retries are the automatic retries of the job before this run.
ALTER TABLE execution
    ADD COLUMN active        int  NOT NULL DEFAULT 0 CHECK (active >= 0),
    ADD COLUMN approvals     int  NOT NULL DEFAULT 0 CHECK (approvals >= 0),
    ADD COLUMN tasks_planned int  NOT NULL DEFAULT 0,
    ADD COLUMN retries       int  NOT NULL DEFAULT 0,
    ADD COLUMN submitted_by  text NOT NULL DEFAULT '';
UPDATE execution SET tasks_planned = tasks_total,
    active = (SELECT count(*) FROM task t WHERE t.execution_id = execution.id
        AND (t.state IN ('READY', 'DISPATCHED') OR t.state = 'WAITING' AND t.wait_gate = 'schedule'))
WHERE ended_at IS NULL;
UPDATE execution SET tasks_planned = tasks_total WHERE ended_at IS NOT NULL;

-- An item of a fan-out is a task: group_idx is the task that fans out, item its place in the list, item_value what it
-- runs with. Its spec is '{}': the group's holds for it. items of a group are its counters, as engine.Items: its items
-- have the indexes from first on, total of them. extra is what few tasks have, as engine.Extra.
ALTER TABLE task
    ADD COLUMN group_idx  int,
    ADD COLUMN item       int  NOT NULL DEFAULT 0,
    ADD COLUMN item_value json,
    ADD COLUMN items      json,
    ADD COLUMN error_code text NOT NULL DEFAULT '',
    ADD COLUMN extra      json;

-- What later tasks see of earlier ones: of items they see what their group makes of them.
DROP INDEX task_outputs;
CREATE INDEX task_outputs ON task (execution_id) WHERE outputs IS NOT NULL AND group_idx IS NULL;

-- A job that a task forks, or a chore that supervisor does for one. kind: 'job' or 'chore'.
-- WANTED: to be submitted; SUBMITTED: it exists; CANCEL_WANTED: its cancellation is to be asked for; CANCELLING: it was
-- asked for; REFUSED: it can never be; ENDED: with outcome COMPLETED, FAILED or CANCELLED.
CREATE TABLE child (
    execution_id uuid        NOT NULL,
    task_idx     int         NOT NULL,
    round        int         NOT NULL,
    kind         text        NOT NULL DEFAULT 'job',
    state        text        NOT NULL,
    job_type     text        NOT NULL DEFAULT '',
    job_version  text        NOT NULL DEFAULT '',
    params       json,
    -- wait: the task ends when the child does. cascade: a cancel of the run reaches it
    wait         boolean     NOT NULL DEFAULT false,
    cascade      boolean     NOT NULL DEFAULT false,
    request_id   uuid,
    outcome      text        NOT NULL DEFAULT '',
    error_code   text        NOT NULL DEFAULT '',
    message      text        NOT NULL DEFAULT '',
    outputs      json,
    -- tries of the call that its state asks for, due_at when the next may be made
    tries        int         NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL,
    -- heard_at is when job-manager last said something of it
    heard_at     timestamptz NOT NULL,
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    PRIMARY KEY (execution_id, task_idx, round)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX child_due ON child (due_at) WHERE state IN ('WANTED', 'CANCEL_WANTED');
CREATE INDEX child_silent ON child (heard_at) WHERE state IN ('SUBMITTED', 'CANCELLING');
CREATE INDEX child_request ON child (request_id) WHERE request_id IS NOT NULL;

-- A task that waits for people. PENDING until it is APPROVED, REJECTED or, with its task or run, CANCELLED.
CREATE TABLE approval (
    execution_id uuid        NOT NULL,
    task_idx     int         NOT NULL,
    round        int         NOT NULL,
    org_id       text        NOT NULL,
    state        text        NOT NULL,
    -- policy is the JSON of jobspec.Approval as it was when the task began to wait
    policy       json        NOT NULL,
    requested_at timestamptz NOT NULL,
    due_at       timestamptz,
    escalated_at timestamptz,
    decided_at   timestamptz,
    PRIMARY KEY (execution_id, task_idx, round)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX approval_pending ON approval (org_id, requested_at, execution_id, task_idx) WHERE state = 'PENDING';

-- One person's decision; a person votes once in a round.
CREATE TABLE vote (
    execution_id uuid        NOT NULL,
    task_idx     int         NOT NULL,
    round        int         NOT NULL,
    voter        text        NOT NULL,
    approve      boolean     NOT NULL,
    comment      text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (execution_id, task_idx, round, voter)
);

DELETE FROM move WHERE entity = 'execution' AND from_state = 'MANUAL_APPROVAL_REQUIRED' AND to_state = 'READY';
INSERT INTO move (entity, from_state, to_state)
SELECT m.entity, m.from_state, unnest(string_to_array(m.to_states, ' '))
FROM (VALUES
    ('execution', 'READY', 'MANUAL_APPROVAL_REQUIRED'),
    ('execution', 'PAUSED', 'COMPLETED MANUAL_APPROVAL_REQUIRED'),
    ('execution', 'MANUAL_APPROVAL_REQUIRED', 'PAUSED COMPLETED'),
    ('task', 'BLOCKED', 'FAILED'),
    ('task', 'WAITING', 'COMPLETED'),
    ('child', 'WANTED', 'SUBMITTED REFUSED CANCEL_WANTED ENDED'),
    ('child', 'SUBMITTED', 'CANCEL_WANTED ENDED'),
    ('child', 'CANCEL_WANTED', 'CANCELLING ENDED'),
    ('child', 'CANCELLING', 'ENDED'),
    ('approval', 'PENDING', 'APPROVED REJECTED CANCELLED')
) AS m (entity, from_state, to_states);
SELECT guard_moves();
