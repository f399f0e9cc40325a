-- +goose Up

-- The second wall: a connection sees the rows of the organisation that it was taken for, "*" those of all, and none where nobody
-- has said. The owner of the tables is held to it, too.
ALTER TABLE ant ENABLE ROW LEVEL SECURITY;
ALTER TABLE ant FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ant
    USING ((SELECT current_setting('app.org', true)) IN ('*', org_id) OR org_id = '' AND (SELECT current_setting('app.org', true)) <> '')
    WITH CHECK ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE hold ENABLE ROW LEVEL SECURITY;
ALTER TABLE hold FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON hold USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
