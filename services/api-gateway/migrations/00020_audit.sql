-- +goose Up

-- The audit log: one row per call, in a chain of hashes. What a column means stands in formicary/identity/v1/audit.proto.
CREATE TABLE audit_event (
    seq            bigint      PRIMARY KEY,
    id             uuid        NOT NULL CONSTRAINT audit_event_id UNIQUE,
    at             timestamptz NOT NULL,
    org_id         text        NOT NULL,
    actor          text        NOT NULL,
    actor_kind     text        NOT NULL,
    credential     text        NOT NULL,
    method         text        NOT NULL,
    permission     text        NOT NULL,
    object_kind    text        NOT NULL,
    object_id      text        NOT NULL,
    request_digest bytea       NOT NULL,
    before_digest  bytea       NOT NULL,
    after_digest   bytea       NOT NULL,
    address        text        NOT NULL,
    request_id     text        NOT NULL,
    agent          text        NOT NULL,
    outcome        text        NOT NULL,
    code           text        NOT NULL,
    reason         text        NOT NULL,
    took_us        bigint      NOT NULL,
    prev_hash      bytea       NOT NULL,
    hash           bytea       NOT NULL
);
CREATE INDEX audit_event_org ON audit_event (org_id, seq);
CREATE INDEX audit_event_actor ON audit_event (actor, seq);
CREATE INDEX audit_event_object ON audit_event (object_id, object_kind, seq);
CREATE INDEX audit_event_at ON audit_event (at);

-- Calls that have begun and are not in the chain yet: body is the event as JSON. touched_at says that the gateway still lives.
CREATE TABLE audit_pending (
    id         uuid        PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body       bytea       NOT NULL
);
CREATE INDEX audit_pending_touched ON audit_pending (touched_at);

-- The end of the chain; whoever seals locks it. digest_key is that of the digests of requests and objects, so that who reads
-- the log cannot guess at what was digested.
CREATE TABLE audit_head (
    one        bool  PRIMARY KEY CHECK (one),
    seq        bigint NOT NULL,
    hash       bytea NOT NULL,
    digest_key bytea NOT NULL
);
INSERT INTO audit_head (one, seq, hash, digest_key)
VALUES (true, 0, decode(repeat('00', 32), 'hex'), sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

-- Ends of the chain at earlier times, signed with the key of the gateway's certificate.
CREATE TABLE audit_checkpoint (
    seq         bigint      PRIMARY KEY,
    hash        bytea       NOT NULL,
    at          timestamptz NOT NULL,
    certificate bytea       NOT NULL,
    signature   bytea       NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd

CREATE TRIGGER audit_event_append BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_event_keep BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_checkpoint_append BEFORE UPDATE OR DELETE ON audit_checkpoint FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_checkpoint_keep BEFORE TRUNCATE ON audit_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event, audit_checkpoint FROM PUBLIC, CURRENT_USER;
