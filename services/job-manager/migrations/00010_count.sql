-- +goose Up

-- How many requests of a job type are in a state. Writes append what they change, so that two of them never wait for each
-- other; a loop adds that up. The sum of both tables is what count(*) would say.
CREATE TABLE request_count (
    org_id   text   NOT NULL,
    job_type text   NOT NULL,
    state    text   NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (org_id, job_type, state)
) WITH (fillfactor = 70);

CREATE TABLE request_count_delta (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id   text   NOT NULL,
    job_type text   NOT NULL,
    state    text   NOT NULL,
    n        bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX request_count_delta_of ON request_count_delta (org_id, job_type, state);

-- Triggers see every writer, so that no statement can forget to count.
-- +goose StatementBegin
CREATE FUNCTION count_born() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO request_count_delta (org_id, job_type, state, n)
    SELECT org_id, job_type, state, count(*) FROM after_rows GROUP BY org_id, job_type, state;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION count_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO request_count_delta (org_id, job_type, state, n)
    SELECT org_id, job_type, state, sum(n) FROM (
        SELECT org_id, job_type, state, 1 AS n FROM after_rows UNION ALL SELECT org_id, job_type, state, -1 FROM before_rows) moved
    GROUP BY org_id, job_type, state HAVING sum(n) <> 0;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION count_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO request_count_delta (org_id, job_type, state, n)
    SELECT org_id, job_type, state, -count(*) FROM before_rows GROUP BY org_id, job_type, state;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER request_born AFTER INSERT ON request REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION count_born();
CREATE TRIGGER request_moved AFTER UPDATE ON request REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_moved();
CREATE TRIGGER request_gone AFTER DELETE ON request REFERENCING OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION count_gone();

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
