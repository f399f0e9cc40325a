-- +goose Up
-- Named values that definitions use. org_id is empty at the level system; owner is the user or the job type of the levels that
-- have one. The value of a secret does not stand here.
CREATE TABLE config (
    id          uuid        PRIMARY KEY,
    org_id      text        NOT NULL,
    level       text        NOT NULL CHECK (level IN ('system', 'org', 'user', 'job')),
    owner       text        NOT NULL,
    name        text        NOT NULL,
    type        text        NOT NULL,
    value       text        NOT NULL,
    secret      boolean     NOT NULL,
    version     int         NOT NULL, -- the newest one of a secret, else 0
    description text        NOT NULL,
    change      bigint      NOT NULL, -- the count of config_change that made it what it is
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    updated_by  text        NOT NULL,
    UNIQUE (org_id, level, owner, name),
    CHECK ((level = 'system') = (org_id = '')),
    CHECK ((level IN ('user', 'job')) = (owner <> '')),
    CHECK (secret AND value = '' AND version > 0 OR NOT secret AND version = 0)
);

-- Encrypted values. The primary key is the place that each was encrypted for: it opens nowhere else. The scope is the level
-- and owner of a config, or request/ID for parameters.
CREATE TABLE sealed (
    org_id     text        NOT NULL,
    scope      text        NOT NULL,
    name       text        NOT NULL,
    version    int         NOT NULL,
    request_id uuid        REFERENCES request ON DELETE CASCADE, -- of parameters
    key_id     text        NOT NULL, -- the key of the ring that data_key is encrypted with
    data_key   bytea       NOT NULL,
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL,
    PRIMARY KEY (org_id, scope, name, version)
);
CREATE INDEX sealed_by_key ON sealed (key_id, org_id, scope, name, version);
CREATE INDEX sealed_by_request ON sealed (request_id) WHERE request_id IS NOT NULL;

-- The number of changes of config, as error_rule_change is for error rules.
CREATE TABLE config_change (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    count bigint  NOT NULL
);
INSERT INTO config_change (count) VALUES (0);
