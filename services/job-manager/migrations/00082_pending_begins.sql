-- +goose Up

-- pending_until counts for the wait that it was written for. A writer that does not know of it begins the next wait (of the
-- next run, or after a pause) with what is left from the last one, which would end the request at once: then the wait gets
-- its time here. One that knows writes another time, or none.
-- +goose StatementBegin
CREATE FUNCTION begin_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.pending_until := CASE WHEN NEW.pending_ms > 0 THEN greatest(now(), NEW.scheduled_at) + NEW.pending_ms * interval '1 millisecond' END;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER request_wait BEFORE UPDATE OF state, run ON request FOR EACH ROW
    WHEN (NEW.state = 'PENDING' AND (OLD.state <> 'PENDING' OR OLD.run <> NEW.run) AND NEW.pending_until = OLD.pending_until)
    EXECUTE FUNCTION begin_wait();
