-- +goose Up

-- Uploads of artifacts that are under way, or complete and not named by the end of an attempt yet. The end that names one
-- makes it an artifact; what stays is an object that nothing names. One without an attempt is an upload of a user.
CREATE TABLE artifact_upload (
    id           uuid        PRIMARY KEY,
    attempt_uid  uuid,
    org_id       text        NOT NULL,
    name         text        NOT NULL,
    key          text        NOT NULL,
    store_id     text        NOT NULL, -- of the object store; empty: it has no parts
    given_at     timestamptz NOT NULL,
    completed_at timestamptz,
    bytes        bigint      NOT NULL DEFAULT 0,
    files        int         NOT NULL DEFAULT 0,
    sha256       text        NOT NULL DEFAULT ''
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX artifact_upload_age ON artifact_upload (given_at, id);

-- Files that tasks keep and users upload. A row means that its object is whole.
CREATE TABLE artifact (
    id          uuid        PRIMARY KEY,
    org_id      text        NOT NULL,
    kind        text        NOT NULL, -- TASK, USER
    request_id  uuid,
    run         int         NOT NULL DEFAULT 0,
    job_type    text        NOT NULL DEFAULT '',
    task        text        NOT NULL DEFAULT '',
    group_task  text        NOT NULL DEFAULT '', -- of an item the task that fans out
    attempt_uid uuid,
    attempt     int         NOT NULL DEFAULT 0,
    number      int         NOT NULL DEFAULT 0, -- among those of the attempt, from 1
    name        text        NOT NULL,
    key         text        NOT NULL,
    bytes       bigint      NOT NULL,
    files       int         NOT NULL,
    sha256      text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX artifact_newest ON artifact (org_id, created_at, id);
CREATE INDEX artifact_of_type ON artifact (org_id, job_type, created_at, id);
CREATE INDEX artifact_of_name ON artifact (org_id, name, created_at, id);
CREATE INDEX artifact_of_request ON artifact (request_id, task);
CREATE INDEX artifact_expiry ON artifact (expires_at, id);
