-- +goose Up

-- The second wall: a connection sees the rows of the organisation that it was taken for, "*" those of all, and none where nobody
-- has said. The owner of the tables is held to it, too.
ALTER TABLE member ENABLE ROW LEVEL SECURITY;
ALTER TABLE member FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON member USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitation FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON invitation USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE token ENABLE ROW LEVEL SECURITY;
ALTER TABLE token FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON token USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE audit_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_event FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_event USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
