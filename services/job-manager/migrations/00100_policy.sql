-- +goose Up

-- The second wall: a connection sees the rows of the organisation that it was taken for, "*" those of all, and none where nobody
-- has said. The owner of the tables is held to it, too.
ALTER TABLE job_type ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_type FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON job_type USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE definition ENABLE ROW LEVEL SECURITY;
ALTER TABLE definition FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON definition USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE request ENABLE ROW LEVEL SECURITY;
ALTER TABLE request FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON request USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE gate ENABLE ROW LEVEL SECURITY;
ALTER TABLE gate FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON gate
    USING ((SELECT current_setting('app.org', true)) IN ('*', org_id) OR org_id = '' AND (SELECT current_setting('app.org', true)) <> '')
    WITH CHECK ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE error_rule ENABLE ROW LEVEL SECURITY;
ALTER TABLE error_rule FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON error_rule USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE delivery ENABLE ROW LEVEL SECURITY;
ALTER TABLE delivery FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON delivery USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE request_count ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_count FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON request_count USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
ALTER TABLE request_count_delta ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_count_delta FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON request_count_delta USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
