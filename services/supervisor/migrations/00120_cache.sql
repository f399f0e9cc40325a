-- +goose Up

-- Files that tasks keep for later runs of their jobs. A row means that its object is whole, and never changes but for its use.
CREATE TABLE cache (
    id         uuid        PRIMARY KEY, -- of its upload
    org_id     text        NOT NULL,
    job_type   text        NOT NULL,
    key        text        NOT NULL,
    request_id uuid        NOT NULL,
    task       text        NOT NULL,
    object     text        NOT NULL,
    bytes      bigint      NOT NULL,
    raw_bytes  bigint      NOT NULL,
    files      int         NOT NULL,
    sha256     text        NOT NULL,
    run_millis bigint      NOT NULL, -- of the task that finds nothing
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz NOT NULL,
    uses       bigint      NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX cache_key ON cache (org_id, job_type, key);
CREATE INDEX cache_newest ON cache (org_id, created_at, id);
CREATE INDEX cache_of_type ON cache (org_id, job_type, created_at, id);
CREATE INDEX cache_expiry ON cache (expires_at, id);
CREATE INDEX cache_used ON cache (org_id, used_at, id) INCLUDE (bytes);

-- cache: JSON of execution.CacheUse; NULL while the attempt lives, and when it asked for none
ALTER TABLE attempt ADD COLUMN cache json;
