-- +goose Up

-- A placement class of many tags is longer than an entry of an index may be. The leader names each gate once and replaces
-- all of them together, so nothing needs the key.
ALTER TABLE gate DROP CONSTRAINT gate_pkey;
