-- +goose Up

-- What a voter gave for the outputs of the task: a JSON object of texts; NULL when it was nothing.
ALTER TABLE vote ADD COLUMN given json;
