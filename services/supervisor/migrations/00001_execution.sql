-- +goose Up

-- A run of a request. Counters make every step cost its neighbourhood, not the job:
-- tasks_open counts tasks that are not terminal, normal_open those of them without always_run,
-- running those that are DISPATCHED or RUNNING, waiting_manual is kept for approvals.
CREATE TABLE execution (
    id             uuid        PRIMARY KEY,
    org_id         text        NOT NULL,
    request_id     uuid        NOT NULL,
    run            int         NOT NULL CHECK (run >= 1),
    job_type       text        NOT NULL,
    definition_id  uuid,
    state          text        NOT NULL,
    version        bigint      NOT NULL DEFAULT 1,
    priority       smallint    NOT NULL DEFAULT 50,
    age_at         timestamptz NOT NULL,
    vars           jsonb       NOT NULL DEFAULT '{}',
    -- policy is what the engine needs of the plan's job part: fail_fast, retry, backoff, cleanup timeout, pause time
    policy         jsonb       NOT NULL DEFAULT '{}',
    tasks_total    int         NOT NULL DEFAULT 0,
    tasks_open     int         NOT NULL DEFAULT 0 CHECK (tasks_open >= 0),
    normal_open    int         NOT NULL DEFAULT 0 CHECK (normal_open >= 0),
    running        int         NOT NULL DEFAULT 0 CHECK (running >= 0),
    -- failing: an unhandled failure happened, nothing new starts except handlers and always_run
    failing        boolean     NOT NULL DEFAULT false,
    cancel_requested_at timestamptz,
    cancel_reason  text        NOT NULL DEFAULT '',
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
CREATE INDEX execution_open ON execution (created_at) WHERE ended_at IS NULL;

CREATE TABLE task (
    execution_id   uuid        NOT NULL REFERENCES execution ON DELETE CASCADE,
    idx            int         NOT NULL,
    name           text        NOT NULL,
    org_id         text        NOT NULL,
    method         text        NOT NULL,
    tags           text[]      NOT NULL DEFAULT '{}',
    slots          int         NOT NULL DEFAULT 1,
    -- class is org, method, sorted tags and slots: tasks of one class fit the same ants
    class          text        NOT NULL,
    state          text        NOT NULL,
    always_run     boolean     NOT NULL DEFAULT false,
    allow_failure  boolean     NOT NULL DEFAULT false,
    -- trailing: always_run with no incoming edge; runs when every task without always_run has ended
    trailing       boolean     NOT NULL DEFAULT false,
    -- waiting counts incoming edges that are not resolved; control those that are control edges; taken those taken
    waiting        int         NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    control        int         NOT NULL DEFAULT 0,
    taken          int         NOT NULL DEFAULT 0,
    -- broken: a data dependency ended without being usable
    broken         boolean     NOT NULL DEFAULT false,
    -- spec is the JSON of jobspec.Task
    spec           jsonb       NOT NULL,
    attempts       int         NOT NULL DEFAULT 0,
    -- user_tries and infra_tries are spent of retry and of the budget for lost attempts
    user_tries     int         NOT NULL DEFAULT 0,
    infra_tries    int         NOT NULL DEFAULT 0,
    priority       smallint    NOT NULL DEFAULT 50,
    ready_at       timestamptz,
    -- wake_at: when a WAITING task becomes READY
    wake_at        timestamptz,
    exit_code      int         NOT NULL DEFAULT 0,
    failure_class  text        NOT NULL DEFAULT '',
    message        text        NOT NULL DEFAULT '',
    outputs        jsonb,
    result         text        NOT NULL DEFAULT '',
    wait_gate      text        NOT NULL DEFAULT '',
    wait_reason    text        NOT NULL DEFAULT '',
    started_at     timestamptz,
    ended_at       timestamptz,
    PRIMARY KEY (execution_id, idx)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX task_ready ON task (class, priority DESC, ready_at, execution_id, idx) WHERE state = 'READY';
CREATE INDEX task_wake ON task (wake_at) WHERE state = 'WAITING' AND wake_at IS NOT NULL;

-- Edges of the plan. kind: 'c' control (routes stand in the spec of the task they leave), 'd' data.
CREATE TABLE edge (
    execution_id uuid   NOT NULL REFERENCES execution ON DELETE CASCADE,
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
    org_id        text        NOT NULL,
    state         text        NOT NULL,
    ant_id        text        NOT NULL,
    session       uuid        NOT NULL,
    slots         int         NOT NULL DEFAULT 1,
    -- lease_until by the database's clock; while DISPATCHED the time by which it must be claimed
    lease_until   timestamptz NOT NULL,
    -- missed counts Syncs of its ant that did not list it
    missed        smallint    NOT NULL DEFAULT 0,
    -- rung counts repeated doorbells
    rung          smallint    NOT NULL DEFAULT 0,
    timeout_at    timestamptz,
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
    FOREIGN KEY (execution_id, task_idx) REFERENCES task ON DELETE CASCADE,
    UNIQUE (execution_id, task_idx, number)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE UNIQUE INDEX attempt_one_live ON attempt (execution_id, task_idx) WHERE state IN ('DISPATCHED', 'RUNNING');
-- live attempts by ant: Sync, lease sweep and timeouts scan only what is live, which is bounded by slots
CREATE INDEX attempt_live ON attempt (ant_id, lease_until) WHERE state IN ('DISPATCHED', 'RUNNING');

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
