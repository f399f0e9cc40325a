-- +goose Up

CREATE TABLE org (
    -- id is a slug. It stands as org_id in the rows of all services and is never given again
    id         text        PRIMARY KEY,
    title      text        NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL,
    -- closed_at ends it: nobody acts in it any more
    closed_at  timestamptz
);
INSERT INTO org (id, title, created_at, created_by) VALUES ('default', 'Default', now(), 'system');

CREATE TABLE person (
    id            uuid        PRIMARY KEY,
    -- name stands in the rows of all services as who did something: it never changes and is never given again
    name          text        NOT NULL CONSTRAINT person_name UNIQUE,
    title         text        NOT NULL,
    email         text        NOT NULL,
    -- platform_role is '', platform-admin or platform-auditor
    platform_role text        NOT NULL,
    -- default_org is where the person acts who names no org; '' when it was never chosen
    default_org   text        NOT NULL,
    -- password is an argon2id hash in the PHC form; '' when there is none
    password      text        NOT NULL,
    created_at    timestamptz NOT NULL,
    created_by    text        NOT NULL,
    disabled_at   timestamptz
);
CREATE INDEX person_platform_role ON person (platform_role) WHERE platform_role <> '';

-- Who a person is at a provider of OpenID Connect.
CREATE TABLE oidc_identity (
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    person_id  uuid        NOT NULL REFERENCES person,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX oidc_identity_person ON oidc_identity (person_id);

CREATE TABLE member (
    org_id    text        NOT NULL REFERENCES org,
    person_id uuid        NOT NULL REFERENCES person,
    role      text        NOT NULL,
    -- groups are free names that approvals ask for
    groups    text[]      NOT NULL,
    added_at  timestamptz NOT NULL,
    added_by  text        NOT NULL,
    PRIMARY KEY (org_id, person_id)
);
CREATE INDEX member_person ON member (person_id);

CREATE TABLE invitation (
    id         uuid        PRIMARY KEY,
    org_id     text        NOT NULL REFERENCES org,
    code_hash  bytea       NOT NULL CONSTRAINT invitation_code UNIQUE,
    -- note says for whom it is
    note       text        NOT NULL,
    role       text        NOT NULL,
    groups     text[]      NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    used_by    text        NOT NULL
);
CREATE INDEX invitation_org ON invitation (org_id, id);
CREATE INDEX invitation_expires ON invitation (expires_at);

CREATE TABLE session (
    id           uuid        PRIMARY KEY,
    secret_hash  bytea       NOT NULL CONSTRAINT session_secret UNIQUE,
    person_id    uuid        NOT NULL REFERENCES person,
    -- kind is browser or cli
    kind         text        NOT NULL,
    -- method is how the person proved who it is: password, bootstrap, device, browser, invitation, or the name of a provider
    method       text        NOT NULL,
    address      text        NOT NULL,
    agent        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    -- last_seen_at is written at most once a minute
    last_seen_at timestamptz NOT NULL,
    -- idle is how long it may be unused, in seconds
    idle         int         NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX session_person ON session (person_id);
CREATE INDEX session_expires ON session (expires_at);

CREATE TABLE token (
    id           uuid        PRIMARY KEY,
    secret_hash  bytea       NOT NULL CONSTRAINT token_secret UNIQUE,
    person_id    uuid        NOT NULL REFERENCES person,
    -- org_id is the only org that it acts in; '' for all of the person
    org_id       text        NOT NULL,
    name         text        NOT NULL,
    -- scopes are patterns of permissions; null for all that the person may do
    scopes       text[],
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX token_person ON token (person_id, id);
CREATE INDEX token_expires ON token (expires_at);

-- Failed attempts to prove who one is, by account and by address.
CREATE TABLE attempt (
    key      text        PRIMARY KEY,
    failures int         NOT NULL,
    last_at  timestamptz NOT NULL,
    -- until is when the next attempt is looked at
    until    timestamptz NOT NULL
);
CREATE INDEX attempt_last ON attempt (last_at);

-- The code that makes the first platform-admin.
CREATE TABLE bootstrap (
    one        bool        PRIMARY KEY CHECK (one),
    code_hash  bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Logins of command lines that wait for a person: by a code that the person confirms (user_code_hash), or in the browser,
-- where challenge is that of PKCE.
CREATE TABLE pending_login (
    secret_hash    bytea       PRIMARY KEY,
    user_code_hash bytea CONSTRAINT pending_login_user_code UNIQUE,
    challenge      text        NOT NULL,
    -- person_id is who confirmed it
    person_id      uuid REFERENCES person,
    denied         bool        NOT NULL,
    address        text        NOT NULL,
    agent          text        NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL
);
CREATE INDEX pending_login_expires ON pending_login (expires_at);
