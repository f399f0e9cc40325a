-- +goose Up
-- Only a release of a public plugin is fixed: others build on it by its name. Every other text is a new version, whatever it
-- calls itself.
DROP INDEX definition_sem_version;
CREATE UNIQUE INDEX definition_release ON definition (org_id, job_type, generation, sem_version)
    WHERE public_plugin AND sem_version <> '' AND split_part(sem_version, '+', 1) NOT LIKE '%-%';
