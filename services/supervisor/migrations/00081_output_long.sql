-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS output_long;
CREATE INDEX CONCURRENTLY output_long ON output (execution_id, bytes, name) WHERE bytes > 65536 AND name ~ '^[A-Za-z_][A-Za-z0-9_]*$';
