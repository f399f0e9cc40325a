-- +goose Up

-- A job that a task forks, or that a template submits, names the request that did it. Both have a depth.
ALTER TABLE request
    ADD COLUMN parent_request_id uuid,
    ADD COLUMN parent_task text NOT NULL DEFAULT '',
    -- child_key is the same each time the fork is submitted; empty for all others
    ADD COLUMN child_key text NOT NULL DEFAULT '',
    -- depth is the number of its ancestors
    ADD COLUMN depth smallint NOT NULL DEFAULT 0,
    -- retries counts the runs that began by themselves since it was submitted or restarted by a person
    ADD COLUMN retries int NOT NULL DEFAULT 0,
    -- from_task is the first task that the run does not keep of reuse_run; empty keeps all that completed
    ADD COLUMN from_task text NOT NULL DEFAULT '',
    -- restarted_at is when a person last restarted it
    ADD COLUMN restarted_at timestamptz,
    -- total_deadline is when its total timeout passes; null before its launch and without one
    ADD COLUMN total_deadline timestamptz,
    -- missing_at is when supervisor first answered that it knows nothing of the run
    ADD COLUMN missing_at timestamptz,
    ADD CONSTRAINT request_parent CHECK (
        depth BETWEEN 0 AND 10 AND (parent_request_id IS NULL) = (depth = 0) AND (child_key = '' OR parent_request_id IS NOT NULL));

-- Who began the runs that exist is not known.
UPDATE request SET retries = run - 1 WHERE run > 1;

CREATE UNIQUE INDEX request_child ON request (child_key) WHERE child_key <> '';
CREATE INDEX request_by_parent ON request (parent_request_id, id) WHERE parent_request_id IS NOT NULL;

-- Forks that were cancelled before they were submitted: they never will be.
CREATE TABLE child_refusal (
    child_key  text        PRIMARY KEY,
    reason     text        NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now()
);

-- Other organisations may fork a type whose newest version says public_plugin. Its name is its own among all plugins.
ALTER TABLE definition ADD COLUMN public_plugin boolean NOT NULL DEFAULT false;
ALTER TABLE job_type
    ADD COLUMN public_plugin boolean NOT NULL DEFAULT false,
    -- plugin_org owns the plugin of this name that the organisation forks, while it has no definition of its own. The
    -- switch and the limit are then copies of the plugin's: each organisation has the limit for itself.
    ADD COLUMN plugin_org text;
CREATE UNIQUE INDEX job_type_plugin ON job_type (job_type) WHERE public_plugin;
CREATE INDEX job_type_borrowed ON job_type (plugin_org, job_type) WHERE plugin_org IS NOT NULL;

-- Rules that turn failures of tasks into error codes and actions; empty conditions always hold.
CREATE TABLE error_rule (
    id              uuid        PRIMARY KEY,
    org_id          text        NOT NULL,
    job_type        text        NOT NULL,
    task            text        NOT NULL,
    platform        text        NOT NULL,
    command         text        NOT NULL,
    regex           text        NOT NULL,
    exit_code       text        NOT NULL,
    error_code      text        NOT NULL,
    description     text        NOT NULL,
    display_message text        NOT NULL,
    display_code    text        NOT NULL,
    action          text        NOT NULL,
    retry           int         NOT NULL,
    updated_at      timestamptz NOT NULL,
    updated_by      text        NOT NULL
);
CREATE INDEX error_rule_by_org ON error_rule (org_id, id);

-- The number of changes of error_rule. Launches read it with the requests, so that rules are read only when they changed;
-- 0 means that there never was one.
CREATE TABLE error_rule_change (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    count bigint  NOT NULL
);
INSERT INTO error_rule_change (count) VALUES (0);
