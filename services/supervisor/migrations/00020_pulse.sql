-- +goose Up

-- What the replicas share about the sweep of attempts, in one row.
CREATE TABLE pulse (
    single      boolean     PRIMARY KEY DEFAULT true CHECK (single),
    -- beat_at is when a replica last showed, on the connections of the leases, that they can be renewed; NULL: never yet
    beat_at     timestamptz,
    -- swept_at is when a replica last took a turn
    swept_at    timestamptz,
    -- rest_until: nothing is ended for the passing of time before, because the clock has moved while nobody was awake
    rest_until  timestamptz,
    -- brake_until: nothing is LOST for its lease before; NULL: not pulled since no ant was silent
    brake_until timestamptz
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000);
INSERT INTO pulse DEFAULT VALUES;
