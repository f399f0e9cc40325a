-- +goose Up

-- Who hears of a job: what its plan says once it was launched, and what the definition says without templates before.
ALTER TABLE request
    ADD COLUMN audience json,
    -- restarted_from is the state that a person last restarted it from; empty when nobody did
    ADD COLUMN restarted_from text NOT NULL DEFAULT '';
ALTER TABLE definition ADD COLUMN audience json;

-- What is told to one recipient. The id is made of what is told and to whom, so nothing is told twice.
CREATE TABLE delivery (
    id          uuid        PRIMARY KEY,
    org_id      text        NOT NULL,
    request_id  uuid        NOT NULL,
    run         int         NOT NULL,
    task        text        NOT NULL,
    channel     text        NOT NULL,
    -- recipient as people may see it
    recipient   text        NOT NULL,
    -- host is whom the channel talks to: a slow one does not hold up the others
    host        text        NOT NULL,
    subject     text        NOT NULL,
    -- target is where it goes, with what may be secret of it; null once it is settled
    target      json,
    message     json        NOT NULL,
    state       text        NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'SENT', 'FAILED')),
    attempts    int         NOT NULL DEFAULT 0,
    error       text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    next_at     timestamptz NOT NULL DEFAULT now(),
    -- leased_until is when another replica may try, if the one that tries now is not heard of
    leased_until timestamptz,
    settled_at  timestamptz,
    CHECK ((state = 'PENDING') = (settled_at IS NULL))
);
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 'PENDING';
CREATE INDEX delivery_by_request ON delivery (request_id, created_at, id);
CREATE INDEX delivery_settled ON delivery (settled_at) WHERE state <> 'PENDING';
