-- +goose NO TRANSACTION
-- +goose Up

-- Built beside the writers, however long that takes.
SET lock_timeout = 0;
SET statement_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS output_long;
CREATE INDEX CONCURRENTLY output_long ON output (execution_id, bytes, name) WHERE bytes > 65536 AND name ~ '^[A-Za-z_][A-Za-z0-9_]*$';
RESET lock_timeout;
RESET statement_timeout;
