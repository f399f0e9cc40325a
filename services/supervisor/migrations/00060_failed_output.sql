-- +goose Up

-- What follows a task sees its outputs also when it failed or was cancelled: whoever tells of a failure needs them most.
CREATE OR REPLACE TRIGGER note_outputs AFTER UPDATE OF state ON task FOR EACH ROW
    WHEN (NEW.state IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.state <> OLD.state AND NEW.outputs IS NOT NULL AND NEW.group_idx IS NULL)
    EXECUTE FUNCTION note_outputs();
CREATE OR REPLACE TRIGGER note_outputs_of_new AFTER INSERT ON task FOR EACH ROW
    WHEN (NEW.state IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.outputs IS NOT NULL AND NEW.group_idx IS NULL)
    EXECUTE FUNCTION note_outputs();
