-- +goose Up
-- "1", "1.0" and "1.0.0" are one version: what is stored is the longest form. Where a job type has more than one of them the
-- newest gets it, and the others keep the text that they were uploaded with.
UPDATE definition d SET sem_version = c.canonical
FROM (
    SELECT id, sem_version, canonical,
        row_number() OVER (PARTITION BY org_id, job_type, generation, canonical ORDER BY sem_version = canonical DESC, version DESC) AS n
    FROM (
        SELECT id, org_id, job_type, generation, version, sem_version,
            m[1] || '.' || coalesce(m[2], '0') || '.' || coalesce(m[3], '0') || coalesce(m[4], '') AS canonical
        FROM definition, regexp_match(sem_version, '^v?0*(\d+)(?:\.0*(\d+))?(?:\.0*(\d+))?([-+].*)?$') m
        WHERE m IS NOT NULL
    ) v
) c
WHERE c.id = d.id AND c.n = 1 AND c.sem_version <> c.canonical;
