-- +goose Up

-- Rows below an execution are written by the transactions that hold its lock, in one place of the code; foreign keys
-- would lock and look up the parent once per row of a batch. The auditor looks for orphans instead.

-- A run of a request. Counters make every step cost its neighbourhood, not the job:
-- tasks_open counts tasks that are not terminal, normal_open those of them without always_run,
-- running those that are DISPATCHED or RUNNING.
CREATE TABLE execution (
    id             uuid        PRIMARY KEY,
    org_id         text        NOT NULL,
    request_id     uuid        NOT NULL,
    run            int         NOT NULL CHECK (run >= 1),
    job_type       text        NOT NULL,
    definition_id  text        NOT NULL DEFAULT '',
    state          text        NOT NULL,
    version        bigint      NOT NULL DEFAULT 1,
    priority       smallint    NOT NULL DEFAULT 50,
    age_at         timestamptz NOT NULL,
    -- vars and policy are only handed through: json keeps their text and costs no parsing into a tree
    vars           json        NOT NULL DEFAULT '{}',
    -- policy is what the engine needs of the plan's job part: fail_fast, retry, backoff, cleanup timeout, pause time
    policy         json        NOT NULL DEFAULT '{}',
    tasks_total    int         NOT NULL DEFAULT 0,
    tasks_open     int         NOT NULL DEFAULT 0 CHECK (tasks_open >= 0),
    normal_open    int         NOT NULL DEFAULT 0 CHECK (normal_open >= 0),
    running        int         NOT NULL DEFAULT 0 CHECK (running >= 0),
    -- failing: an unhandled failure happened, nothing new starts except handlers and always_run
    failing        boolean     NOT NULL DEFAULT false,
    -- stopping: what runs was told to stop, only always_run may start
    stopping       boolean     NOT NULL DEFAULT false,
    cancel_requested boolean   NOT NULL DEFAULT false,
    pause_requested boolean    NOT NULL DEFAULT false,
    error_code     text        NOT NULL DEFAULT '',
    error_message  text        NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    ended_at       timestamptz,
    -- deadline_at is the job's timeout, or the end of its clean-up once it is failing or cancelled
    deadline_at    timestamptz,
    restart_at     timestamptz,
    restart_soft   boolean     NOT NULL DEFAULT false,
    resume_at      timestamptz,
    UNIQUE (request_id, run)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX execution_deadline ON execution (deadline_at) WHERE ended_at IS NULL AND deadline_at IS NOT NULL;
-- open runs, and those that ended lately
CREATE INDEX execution_ended ON execution (ended_at);

-- A task. While it has a live attempt it is DISPATCHED here; whether it is RUNNING is said by that attempt, so that a
-- claim writes one row and takes no lock but that of the attempt.
CREATE TABLE task (
    execution_id   uuid        NOT NULL,
    idx            int         NOT NULL,
    name           text        NOT NULL,
    method         text        NOT NULL,
    slots          int         NOT NULL DEFAULT 1,
    -- class is "org|METHOD|tag,tag|slots": tasks of one class fit the same ants
    class          text        NOT NULL,
    state          text        NOT NULL,
    always_run     boolean     NOT NULL DEFAULT false,
    allow_failure  boolean     NOT NULL DEFAULT false,
    -- trails: always_run with no incoming edge; runs when every task without always_run has ended
    trails         boolean     NOT NULL DEFAULT false,
    -- waiting counts incoming edges that are not resolved; control those that are control edges; taken those taken
    waiting        int         NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    control        int         NOT NULL DEFAULT 0,
    taken          int         NOT NULL DEFAULT 0,
    -- broken: a data dependency ended without being usable
    broken         boolean     NOT NULL DEFAULT false,
    -- handler: activated through the route of a failure, or follows a task that was
    handler        boolean     NOT NULL DEFAULT false,
    -- reuse: it completed in the run before and completes again without running
    reuse          boolean     NOT NULL DEFAULT false,
    -- spec is the JSON of jobspec.Task
    spec           json        NOT NULL,
    -- timeout_ms bounds one attempt with its grace, total_ms all attempts; 0 means no bound
    timeout_ms     bigint      NOT NULL DEFAULT 0,
    total_ms       bigint      NOT NULL DEFAULT 0,
    attempts       int         NOT NULL DEFAULT 0,
    -- user_tries and infra_tries are spent of retry and of the budget for lost attempts
    user_tries     int         NOT NULL DEFAULT 0,
    infra_tries    int         NOT NULL DEFAULT 0,
    priority       smallint    NOT NULL DEFAULT 50,
    ready_at       timestamptz,
    -- wake_at: when a WAITING task becomes READY
    wake_at        timestamptz,
    -- overdue_at: when a task without a live attempt has waited longer than it may
    overdue_at     timestamptz,
    exit_code      int         NOT NULL DEFAULT 0,
    failure_class  text        NOT NULL DEFAULT '',
    message        text        NOT NULL DEFAULT '',
    outputs        json,
    result         text        NOT NULL DEFAULT '',
    wait_gate      text        NOT NULL DEFAULT '',
    wait_reason    text        NOT NULL DEFAULT '',
    started_at     timestamptz,
    ended_at       timestamptz,
    PRIMARY KEY (execution_id, idx)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX task_ready ON task (class, priority DESC, ready_at, execution_id, idx) WHERE state = 'READY';
CREATE INDEX task_wake ON task (wake_at) WHERE state = 'WAITING' AND wake_at IS NOT NULL;
CREATE INDEX task_overdue ON task (overdue_at) WHERE state IN ('READY', 'WAITING') AND overdue_at IS NOT NULL;
CREATE INDEX task_trailing ON task (execution_id) WHERE trails;
-- what later tasks see of earlier ones
CREATE INDEX task_outputs ON task (execution_id) WHERE outputs IS NOT NULL;

-- Edges of the plan. kind: 'c' control (routes stand in the spec of the task they leave), 'd' data.
CREATE TABLE edge (
    execution_id uuid   NOT NULL,
    from_idx     int    NOT NULL,
    to_idx       int    NOT NULL,
    kind         "char" NOT NULL CHECK (kind IN ('c', 'd')),
    PRIMARY KEY (execution_id, from_idx, to_idx, kind)
);

CREATE TABLE attempt (
    uid           uuid        PRIMARY KEY,
    execution_id  uuid        NOT NULL,
    task_idx      int         NOT NULL,
    number        int         NOT NULL CHECK (number >= 1),
    state         text        NOT NULL,
    ant_id        text        NOT NULL,
    -- session it belongs to now; claim_session is the one that claimed it, which may have ended since
    session       uuid        NOT NULL,
    claim_session uuid,
    slots         int         NOT NULL DEFAULT 1,
    -- lease_until by the database's clock; while DISPATCHED the time by which it must be claimed
    lease_until   timestamptz NOT NULL,
    -- missed counts Syncs of its ant that did not list it
    missed        smallint    NOT NULL DEFAULT 0,
    -- rung counts repeated doorbells
    rung          smallint    NOT NULL DEFAULT 0,
    timeout_at    timestamptz,
    -- spooled_at: its ant said first that it has ended and its result is on the way
    spooled_at    timestamptz,
    stop_requested_at timestamptz,
    exit_code     int         NOT NULL DEFAULT 0,
    failure_class text        NOT NULL DEFAULT '',
    message       text        NOT NULL DEFAULT '',
    result_digest bytea,
    log_key       text        NOT NULL DEFAULT '',
    log_bytes     bigint      NOT NULL DEFAULT 0,
    log_sha256    text        NOT NULL DEFAULT '',
    dispatched_at timestamptz NOT NULL,
    started_at    timestamptz,
    ended_at      timestamptz,
    UNIQUE (execution_id, task_idx, number)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX attempt_one_live ON attempt (execution_id, task_idx) WHERE state IN ('DISPATCHED', 'RUNNING');
-- live attempts by ant: Sync, lease sweep and timeouts scan only what is live, which is bounded by slots. No column that
-- a Sync changes is indexed, so that renewing leases stays a heap-only update.
CREATE INDEX attempt_live ON attempt (ant_id) WHERE state IN ('DISPATCHED', 'RUNNING');

-- Slots to give back: written by the transaction that ends the attempt, deleted when resource-manager has them.
CREATE TABLE slot_release (
    attempt_uid uuid        PRIMARY KEY,
    created_at  timestamptz NOT NULL
);

-- The newest generation of each ant that has synced.
CREATE TABLE ant_session (
    ant_id     text        PRIMARY KEY,
    generation bigint      NOT NULL,
    session    uuid        NOT NULL,
    synced_at  timestamptz NOT NULL
);

-- Messages and rows that could not be handled, for a person to see.
CREATE TABLE quarantine (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    key        text        NOT NULL,
    payload    bytea,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, key)
);

-- The allowed moves, the same as in Go; the trigger refuses anything else.
CREATE TABLE move (
    entity     text NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    PRIMARY KEY (entity, from_state, to_state)
);

INSERT INTO move (entity, from_state, to_state)
SELECT m.entity, m.from_state, unnest(string_to_array(m.to_states, ' '))
FROM (VALUES
    ('execution', 'READY', 'EXECUTING PAUSED COMPLETED FAILED CANCELLED'),
    ('execution', 'EXECUTING', 'PAUSED MANUAL_APPROVAL_REQUIRED COMPLETED FAILED CANCELLED'),
    ('execution', 'PAUSED', 'READY EXECUTING FAILED CANCELLED'),
    ('execution', 'MANUAL_APPROVAL_REQUIRED', 'READY EXECUTING FAILED CANCELLED'),
    ('task', 'BLOCKED', 'READY WAITING COMPLETED SKIPPED CANCELLED'),
    ('task', 'READY', 'DISPATCHED WAITING COMPLETED SKIPPED CANCELLED FAILED'),
    ('task', 'DISPATCHED', 'RUNNING READY WAITING COMPLETED FAILED SKIPPED CANCELLED'),
    ('task', 'RUNNING', 'READY WAITING COMPLETED FAILED CANCELLED'),
    ('task', 'WAITING', 'READY FAILED SKIPPED CANCELLED'),
    ('attempt', 'DISPATCHED', 'RUNNING FAILED LOST CANCELLED'),
    ('attempt', 'RUNNING', 'SUCCEEDED FAILED TIMED_OUT LOST CANCELLED')
) AS m (entity, from_state, to_states);

-- +goose StatementBegin
CREATE FUNCTION refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'illegal move of %: % to %', TG_TABLE_NAME, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END $$;
-- +goose StatementEnd

-- guard_moves makes the triggers from the table; a migration that changes the table calls it again. The allowed moves
-- stand in the condition of the trigger, so that a legal move costs the comparison of a few strings and no call.
-- +goose StatementBegin
CREATE FUNCTION guard_moves() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    e text;
    allowed text[];
BEGIN
    FOR e, allowed IN SELECT entity, array_agg(from_state || '>' || to_state ORDER BY 1) FROM move GROUP BY entity LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS legal_move ON %I', e);
        EXECUTE format('CREATE TRIGGER legal_move BEFORE UPDATE OF state ON %I FOR EACH ROW
            WHEN (OLD.state IS DISTINCT FROM NEW.state AND (OLD.state || ''>'' || NEW.state) <> ALL (%L::text[]))
            EXECUTE FUNCTION refuse_move()', e, allowed);
    END LOOP;
END $$;
-- +goose StatementEnd
SELECT guard_moves();

-- Why the READY tasks of a class are not placed: one row per class, not per task.
CREATE TABLE class_wait (
    class      text        PRIMARY KEY,
    gate       text        NOT NULL,
    reason     text        NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE outbox (
    id         uuid        PRIMARY KEY,
    subject    text        NOT NULL,
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX outbox_age ON outbox (created_at);
