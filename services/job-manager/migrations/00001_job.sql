-- +goose Up

-- A job type is what its versions have in common. Its row is the lock of everything that concerns the type as a whole:
-- an upload and a deletion lock it exclusively, a submission shares it.
CREATE TABLE job_type (
    org_id         text        NOT NULL,
    job_type       text        NOT NULL,
    -- last_version is the number of the newest text that was ever stored; numbers are not used again
    last_version   int         NOT NULL DEFAULT 0,
    -- newest_id is the definition that new requests get; null once the type is deleted
    newest_id      uuid,
    -- generation counts deletions: versions of an older generation are deleted
    generation     int         NOT NULL DEFAULT 0,
    disabled       boolean     NOT NULL DEFAULT false,
    -- max_concurrency of the newest version; 0 means no limit
    max_concurrency int        NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, job_type)
);

CREATE TABLE definition (
    id              uuid        PRIMARY KEY,
    org_id          text        NOT NULL,
    job_type        text        NOT NULL,
    version         int         NOT NULL CHECK (version >= 1),
    generation      int         NOT NULL,
    sem_version     text        NOT NULL,
    description     text        NOT NULL,
    -- disabled as the text says; the type's own flag is what counts
    disabled        boolean     NOT NULL,
    sha256          bytea       NOT NULL,
    yaml            text        NOT NULL,
    max_concurrency int         NOT NULL,
    priority        int         NOT NULL,
    required_params text[]      NOT NULL,
    created_at      timestamptz NOT NULL,
    created_by      text        NOT NULL,
    FOREIGN KEY (org_id, job_type) REFERENCES job_type,
    CONSTRAINT definition_version UNIQUE (org_id, job_type, version)
);
CREATE UNIQUE INDEX definition_sem_version ON definition (org_id, job_type, generation, sem_version) WHERE sem_version <> '';

-- A request. Its row is rewritten about three times in its life, so it has few indexes and most of them are partial.
CREATE TABLE request (
    id                 uuid        PRIMARY KEY,
    org_id             text        NOT NULL,
    job_type           text        NOT NULL,
    -- definition_id is the pinned version. No foreign key: the statement that inserts has read it under a lock
    definition_id      uuid        NOT NULL,
    definition_version int         NOT NULL,
    state              text        NOT NULL,
    run                int         NOT NULL DEFAULT 1 CHECK (run >= 1),
    -- version rises with every change that people can see
    version            bigint      NOT NULL DEFAULT 1,
    -- execution_version is the newest version of the run's execution that is mirrored; 0 while none is known
    execution_version  bigint      NOT NULL DEFAULT 0,
    -- reuse_run is the run whose completed tasks the current one keeps; 0 for none
    reuse_run          int         NOT NULL DEFAULT 0,
    priority           smallint    NOT NULL CHECK (priority BETWEEN 0 AND 100),
    -- age_at orders equal priorities; resume keeps it
    age_at             timestamptz NOT NULL,
    -- scheduled_at is the earliest start; null means at once
    scheduled_at       timestamptz,
    -- queued: PENDING, due and wanted, so that the scheduler may admit it
    queued             boolean     NOT NULL,
    placement_class    text        NOT NULL,
    params             json        NOT NULL,
    description        text        NOT NULL,
    idempotency_key    text        NOT NULL,
    request_hash       bytea       NOT NULL,
    created_by         text        NOT NULL,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    started_at         timestamptz,
    ended_at           timestamptz,
    cancel_requested_at timestamptz,
    cancel_reason      text        NOT NULL DEFAULT '',
    pause_requested_at timestamptz,
    -- resume_at is when a PAUSED request resumes by itself
    resume_at          timestamptz,
    error_code         text        NOT NULL DEFAULT '',
    error_message      text        NOT NULL DEFAULT '',
    -- admitted_epoch and admitted_at belong to the last admission and are kept for the auditor
    admitted_epoch     bigint      NOT NULL DEFAULT 0,
    admitted_at        timestamptz,
    -- check_at is when the reconciler asks supervisor about a silent request
    check_at           timestamptz NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX request_key ON request (org_id, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX request_by_org ON request (org_id, id);
CREATE INDEX request_by_type ON request (org_id, job_type, id);
CREATE INDEX request_rare ON request (org_id, id) WHERE state IN ('PAUSED', 'MANUAL_APPROVAL_REQUIRED', 'FAILED', 'CANCELLED', 'SKIPPED');
-- The queue of a job type in the order of admission. What is not due yet lies in request_asleep instead, so that
-- reading the heads never steps over it.
CREATE INDEX request_queue ON request (org_id, job_type, priority DESC, age_at, id) WHERE state = 'PENDING' AND queued;
CREATE INDEX request_asleep ON request (scheduled_at) WHERE state = 'PENDING' AND NOT queued AND cancel_requested_at IS NULL;
CREATE INDEX request_active ON request (org_id, job_type, id) WHERE state IN ('READY', 'EXECUTING');
CREATE INDEX request_resume ON request (resume_at) WHERE state = 'PAUSED' AND resume_at IS NOT NULL;
CREATE INDEX request_cancel ON request (check_at) WHERE cancel_requested_at IS NOT NULL AND state IN ('PENDING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED');

-- The allowed moves, the same as in Go (internal/request/state.go); a test compares them. new_run moves need the next
-- run number, all others keep it.
CREATE TABLE move (
    from_state text    NOT NULL,
    to_state   text    NOT NULL,
    new_run    boolean NOT NULL,
    PRIMARY KEY (from_state, to_state, new_run)
);
INSERT INTO move (from_state, to_state, new_run) VALUES
    ('PENDING', 'READY', false), ('PENDING', 'PAUSED', false),
    ('PENDING', 'COMPLETED', false), ('PENDING', 'FAILED', false), ('PENDING', 'CANCELLED', false), ('PENDING', 'SKIPPED', false),
    ('READY', 'EXECUTING', false), ('READY', 'PAUSED', false), ('READY', 'MANUAL_APPROVAL_REQUIRED', false),
    ('READY', 'COMPLETED', false), ('READY', 'FAILED', false), ('READY', 'CANCELLED', false), ('READY', 'SKIPPED', false),
    ('EXECUTING', 'PAUSED', false), ('EXECUTING', 'MANUAL_APPROVAL_REQUIRED', false),
    ('EXECUTING', 'COMPLETED', false), ('EXECUTING', 'FAILED', false), ('EXECUTING', 'CANCELLED', false), ('EXECUTING', 'SKIPPED', false),
    ('PAUSED', 'PENDING', false), ('PAUSED', 'MANUAL_APPROVAL_REQUIRED', false),
    ('PAUSED', 'COMPLETED', false), ('PAUSED', 'FAILED', false), ('PAUSED', 'CANCELLED', false), ('PAUSED', 'SKIPPED', false),
    ('MANUAL_APPROVAL_REQUIRED', 'PENDING', false), ('MANUAL_APPROVAL_REQUIRED', 'PAUSED', false),
    ('MANUAL_APPROVAL_REQUIRED', 'COMPLETED', false), ('MANUAL_APPROVAL_REQUIRED', 'FAILED', false),
    ('MANUAL_APPROVAL_REQUIRED', 'CANCELLED', false), ('MANUAL_APPROVAL_REQUIRED', 'SKIPPED', false),
    -- a run that asks for the next one, and restart
    ('PENDING', 'PENDING', true), ('READY', 'PENDING', true), ('EXECUTING', 'PENDING', true),
    ('PAUSED', 'PENDING', true), ('MANUAL_APPROVAL_REQUIRED', 'PENDING', true),
    ('READY', 'PAUSED', true), ('EXECUTING', 'PAUSED', true), ('MANUAL_APPROVAL_REQUIRED', 'PAUSED', true),
    ('COMPLETED', 'PENDING', true), ('FAILED', 'PENDING', true), ('CANCELLED', 'PENDING', true), ('SKIPPED', 'PENDING', true);

-- +goose StatementBegin
CREATE FUNCTION check_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.run NOT IN (OLD.run, OLD.run + 1)
       OR NOT EXISTS (SELECT FROM move m WHERE m.from_state = OLD.state AND m.to_state = NEW.state AND m.new_run = (NEW.run > OLD.run)) THEN
        RAISE EXCEPTION 'request % must not move from % run % to % run %', OLD.id, OLD.state, OLD.run, NEW.state, NEW.run
            USING ERRCODE = 'check_violation', CONSTRAINT = 'request_move';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER request_move BEFORE UPDATE OF state, run ON request FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.run IS DISTINCT FROM NEW.run) EXECUTE FUNCTION check_move();

-- +goose StatementBegin
CREATE FUNCTION check_birth() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'request % must begin as PENDING, not as %', NEW.id, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'request_move';
END $$;
-- +goose StatementEnd
CREATE TRIGGER request_birth BEFORE INSERT ON request FOR EACH ROW WHEN (NEW.state <> 'PENDING' OR NEW.run <> 1) EXECUTE FUNCTION check_birth();

-- The one leader. Every write of a leader shares this row's lock, and BeginEpoch takes it alone: once a newer epoch has
-- begun, no transaction of an older one can commit a decision.
CREATE TABLE leader (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch     bigint  NOT NULL,
    leader_id text    NOT NULL
);
INSERT INTO leader (epoch, leader_id) VALUES (0, '');

-- Every epoch that ever began, by the clock of the database at the moment of the lock.
CREATE TABLE epoch (
    epoch      bigint      PRIMARY KEY,
    leader_id  text        NOT NULL,
    -- cluster_id of etcd, whose revisions it began with
    cluster_id numeric     NOT NULL,
    revision   bigint      NOT NULL,
    began_at   timestamptz NOT NULL
);

-- Writes that were refused because a newer epoch had begun.
CREATE TABLE fenced_write (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch         bigint      NOT NULL,
    leader_id     text        NOT NULL,
    requests      int         NOT NULL,
    refused_at    timestamptz NOT NULL DEFAULT now()
);

-- The gates that the leader found closed in its last pass; either job_type or placement_class is set.
CREATE TABLE gate (
    org_id          text   NOT NULL,
    job_type        text   NOT NULL,
    placement_class text   NOT NULL,
    gate            text   NOT NULL,
    reason          text   NOT NULL,
    holders         text[] NOT NULL,
    epoch           bigint NOT NULL,
    PRIMARY KEY (org_id, job_type, placement_class, gate)
);

-- Messages that could not be handled, taken out of the stream so that the others go on.
CREATE TABLE poison (
    id          uuid        PRIMARY KEY,
    subject     text        NOT NULL,
    payload     bytea       NOT NULL,
    delivered   bigint      NOT NULL,
    reason      text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE outbox (
    id         uuid        PRIMARY KEY,
    subject    text        NOT NULL,
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX outbox_age ON outbox (created_at);
