-- +goose Up

-- An ant and its session. used is the sum of the slots of its holds and changes only in the transaction that inserts
-- or deletes them. offered is what the ant brings; slots is what used may reach: normally the same, but an ant that
-- registers again with fewer slots than it uses keeps the higher ceiling, which sinks with every release and is never
-- raised by a reservation.
CREATE TABLE ant (
    id             text        PRIMARY KEY,
    session        uuid,       -- NULL after it left
    generation     bigint      NOT NULL CHECK (generation >= 1),
    state          text        NOT NULL CHECK (state IN ('ONLINE', 'DRAINING', 'OFFLINE')),
    drain_wanted   boolean     NOT NULL DEFAULT false, -- by an operator; outlasts the session
    drain_reported boolean     NOT NULL DEFAULT false, -- by the ant itself
    methods        text[]      NOT NULL,
    tags           text[]      NOT NULL,
    unhealthy      text[]      NOT NULL DEFAULT '{}',  -- methods, as last reported
    offered        int         NOT NULL CHECK (offered >= 1),
    slots          int         NOT NULL CHECK (slots >= offered),
    used           int         NOT NULL DEFAULT 0,
    version        text        NOT NULL DEFAULT '',
    labels         jsonb       NOT NULL DEFAULT '{}',
    registered_at  timestamptz NOT NULL,
    heartbeat_at   timestamptz NOT NULL,
    lease_until    timestamptz NOT NULL,
    braked         boolean     NOT NULL DEFAULT false, -- got one more lease because too many ended at once
    offline_at     timestamptz,
    CONSTRAINT ant_used CHECK (used BETWEEN 0 AND slots),
    CHECK ((state = 'OFFLINE') = (offline_at IS NOT NULL)),
    CHECK (state = 'OFFLINE' OR session IS NOT NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

-- A hold names the attempt that owns slots of an ant. It is freed by a release, or when its deadline has passed and
-- supervisor says that the attempt is not live; never by age alone. No foreign key: it would look up and lock the ant
-- once per row of a batch; whoever writes holds or removes ants locks those ants, and the auditor looks for orphans.
CREATE TABLE hold (
    attempt_uid uuid        PRIMARY KEY,
    ant_id      text        NOT NULL,
    org_id      text        NOT NULL,
    slots       int         NOT NULL CHECK (slots >= 1),
    created_at  timestamptz NOT NULL,
    deadline    timestamptz NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX hold_ant ON hold (ant_id);
CREATE INDEX hold_deadline ON hold (deadline);
