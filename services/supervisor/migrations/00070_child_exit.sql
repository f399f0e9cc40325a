-- +goose Up

-- exit_code of a child that failed: that of the task which failed it. What awaits the child ends with it.
ALTER TABLE child ADD COLUMN exit_code int NOT NULL DEFAULT 0;
