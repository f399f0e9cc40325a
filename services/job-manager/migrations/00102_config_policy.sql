-- +goose Up

-- Configs of the system belong to no organisation and hold for all.
ALTER TABLE config ENABLE ROW LEVEL SECURITY;
ALTER TABLE config FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON config
    USING ((SELECT current_setting('app.org', true)) IN ('*', org_id) OR org_id = '' AND (SELECT current_setting('app.org', true)) <> '')
    WITH CHECK ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE sealed ENABLE ROW LEVEL SECURITY;
ALTER TABLE sealed FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sealed
    USING ((SELECT current_setting('app.org', true)) IN ('*', org_id) OR org_id = '' AND (SELECT current_setting('app.org', true)) <> '')
    WITH CHECK ((SELECT current_setting('app.org', true)) IN ('*', org_id));
