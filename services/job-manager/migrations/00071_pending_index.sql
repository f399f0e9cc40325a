-- +goose NO TRANSACTION
-- +goose Up

SET statement_timeout = 0;
SET lock_timeout = 0;

DROP INDEX CONCURRENTLY IF EXISTS request_pending;
CREATE INDEX CONCURRENTLY request_pending ON request (pending_until) WHERE state = 'PENDING' AND pending_until IS NOT NULL;

RESET lock_timeout;
RESET statement_timeout;
