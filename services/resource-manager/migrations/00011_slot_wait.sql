-- +goose Up

-- The table gets the name of what it says: somebody waits for slots. Replicas of the version before know it by the old one.
ALTER TABLE hunger RENAME TO slot_wait;
CREATE VIEW hunger AS SELECT one, waiting FROM slot_wait;
