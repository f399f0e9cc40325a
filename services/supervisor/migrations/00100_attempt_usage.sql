-- +goose Up
-- usage: JSON of execution.Usage; NULL while the attempt lives, and when its ant did not tell
ALTER TABLE attempt ADD COLUMN usage json;
