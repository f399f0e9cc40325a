-- +goose Up

-- Logs that can expire, the oldest first: what EXPIRE_ARTIFACTS looks for among all attempts that there ever were.
CREATE INDEX attempt_log ON attempt (ended_at) WHERE log_key <> '';
