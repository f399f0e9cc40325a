package jobmanager_test

import (
	"strings"
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/migrations"
)

func TestAVersionHasOneName(t *testing.T) {
	c := newColony(t)
	plugin := func(more string) string { return job("io.acme.j", "public_plugin: true\n"+more) } // whose releases are fixed
	first := c.upload(plugin("sem_version: \"1.0\"\n"))
	if first.GetSemVersion() != "1.0.0" {
		t.Errorf("%q", first.GetSemVersion())
	}
	for _, same := range []string{"1.0.0", "1", "v1.0", "1.0"} {
		_, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: plugin("priority: 1\nsem_version: \"" + same + "\"\n")})
		wantReason(t, err, "SEM_VERSION_TAKEN")
	}
	c.upload(plugin("sem_version: 1.0.0-rc1\n"))
	c.upload(plugin("sem_version: 2\n"))
	for wanted, version := range map[string]int32{"1.0": 1, "1.0.0": 1, "=1.0.0": 1, "=1": 1, "v1": 1, "1.0.0-rc1": 2, "2.0": 3, "^2": 3} {
		if r := c.submit(&jobv1.SubmitJobRequest{JobType: "io.acme.j", JobVersion: wanted}); r.GetDefinitionVersion() != version {
			t.Errorf("%s: version %d, want %d", wanted, r.GetDefinitionVersion(), version)
		}
	}
}

func TestStoredVersionsGetTheirName(t *testing.T) {
	c := newColony(t)
	stored := map[string]string{"one": "1.0.0", "two": "1.0", "three": "1", "alone": "v2", "pre": "3.1-rc1+b7", "odd": "release-x", "none": "", "zero": "0"}
	for jobType := range stored {
		c.upload(job(jobType, ""))
	}
	// "j" has three rows for one version.
	for i, v := range []string{"1", "1.0", "2.0"} {
		c.upload(job("j", "priority: "+string(rune('1'+i))+"\n"))
		c.count("WITH u AS (UPDATE definition SET sem_version = $1 WHERE job_type = 'j' AND version = $2 RETURNING 1) SELECT count(*) FROM u", v, i+1)
	}
	for jobType, v := range stored {
		if _, err := c.pool.Exec(t.Context(), "UPDATE definition SET sem_version = $1 WHERE job_type = $2", v, jobType); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := migrations.FS.ReadFile("00080_sem_version.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.pool.Exec(t.Context(), strings.TrimPrefix(string(raw), "-- +goose Up")); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"one/1": "1.0.0", "two/1": "1.0.0", "three/1": "1.0.0", "alone/1": "2.0.0", "pre/1": "3.1.0-rc1+b7", "odd/1": "release-x", "none/1": "", "zero/1": "0.0.0",
		"j/1": "1", "j/2": "1.0.0", "j/3": "2.0.0",
	} {
		var got string
		if err := c.pool.QueryRow(t.Context(), "SELECT sem_version FROM definition WHERE job_type || '/' || version = $1", key).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", key, got, want, err)
		}
	}
}
