-- +goose Up
-- inputs: the artifacts that the claim names, which are all that the attempt may read; NULL when it names none
ALTER TABLE attempt ADD COLUMN inputs uuid[];
