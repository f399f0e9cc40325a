-- +goose Up

-- Tokens with which ants join, each once and within minutes. Only the hash of a token is kept; rows go after a day.
CREATE TABLE join_token (
    id         uuid        PRIMARY KEY,
    hash       bytea       NOT NULL UNIQUE,
    org_id     text        NOT NULL, -- that the ant will work for; '' for all
    pool       text        NOT NULL,
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    used_by    text        NOT NULL DEFAULT '' -- the ant
);

-- An ant that has joined, or was shut out. Certificates that were issued before revoked_at do not count.
CREATE TABLE ant_identity (
    ant_id     text        PRIMARY KEY,
    org_id     text        NOT NULL,
    pool       text        NOT NULL,
    joined_at  timestamptz NOT NULL,
    not_after  timestamptz NOT NULL, -- the end of its newest certificate
    revoked_at timestamptz
);

-- The pool that an ant joined for; policies are made by it.
ALTER TABLE ant ADD COLUMN pool text NOT NULL DEFAULT 'default';

-- The second wall. Tokens and identities of ants that serve all are the platform's.
ALTER TABLE join_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE join_token FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON join_token USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE ant_identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE ant_identity FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ant_identity USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
