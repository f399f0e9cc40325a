-- +goose Up

-- How often something failed by its own fault, tried alone. What fails too often is given up.
CREATE TABLE failure (
    kind   text        NOT NULL,
    key    text        NOT NULL,
    count  int         NOT NULL,
    reason text        NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX failure_age ON failure (at);

-- What people asked to be told about tasks, until job-manager has stored it: the event that tells of it may be lost.
CREATE TABLE notice (
    id         uuid        PRIMARY KEY,
    notice     bytea       NOT NULL,
    created_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX notice_age ON notice (created_at, id);
