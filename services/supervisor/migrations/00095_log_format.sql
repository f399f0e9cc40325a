-- +goose Up
-- How a log is stored: 0 as the bytes that were printed, 1 as records in frames (libs/logfile). log_bytes is the offset that
-- follows the log, log_stored the size of its object; 0 where both are the same.
ALTER TABLE attempt ADD COLUMN log_format smallint NOT NULL DEFAULT 0, ADD COLUMN log_stored bigint NOT NULL DEFAULT 0;
