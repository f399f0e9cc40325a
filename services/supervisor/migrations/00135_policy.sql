-- +goose Up

-- The second wall: a connection sees the rows of the organisation that it was taken for, "*" those of all, and none where nobody
-- has said. The owner of the tables is held to it, too.
ALTER TABLE execution ENABLE ROW LEVEL SECURITY;
ALTER TABLE execution FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON execution USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE task ENABLE ROW LEVEL SECURITY;
ALTER TABLE task FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON task USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE edge ENABLE ROW LEVEL SECURITY;
ALTER TABLE edge FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON edge USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE attempt ENABLE ROW LEVEL SECURITY;
ALTER TABLE attempt FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON attempt USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
ALTER TABLE child FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON child USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE approval ENABLE ROW LEVEL SECURITY;
ALTER TABLE approval FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON approval USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE vote ENABLE ROW LEVEL SECURITY;
ALTER TABLE vote FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vote USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE output ENABLE ROW LEVEL SECURITY;
ALTER TABLE output FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON output USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE class_wait ENABLE ROW LEVEL SECURITY;
ALTER TABLE class_wait FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON class_wait USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE upload ENABLE ROW LEVEL SECURITY;
ALTER TABLE upload FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON upload USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE artifact_upload ENABLE ROW LEVEL SECURITY;
ALTER TABLE artifact_upload FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON artifact_upload USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE artifact ENABLE ROW LEVEL SECURITY;
ALTER TABLE artifact FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON artifact USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cache USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
