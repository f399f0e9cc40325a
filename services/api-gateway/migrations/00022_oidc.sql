-- +goose Up

-- The key of cookies that hold a login under way at a provider: all replicas have the same.
CREATE TABLE cookie_key (
    one bool  PRIMARY KEY CHECK (one),
    key bytea NOT NULL
);
