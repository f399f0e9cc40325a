-- +goose Up

-- What an organisation may take. Without a row it may take any amount.
CREATE TABLE quota (
    org_id text        NOT NULL,
    -- name as in internal/quota
    name   text        NOT NULL,
    most   bigint      NOT NULL CHECK (most >= 0),
    set_at timestamptz NOT NULL,
    set_by text        NOT NULL,
    PRIMARY KEY (org_id, name)
);
CREATE INDEX quota_name ON quota (name, org_id);
ALTER TABLE quota ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quota USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
