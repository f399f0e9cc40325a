package jobmanager_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestDefinitionVersions(t *testing.T) {
	c := newColony(t)
	first := c.upload(job("j", "max_concurrency: 3\n"))
	if first.GetVersion() != 1 || first.GetMaxConcurrency() != 3 {
		t.Errorf("%v", first)
	}
	again, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: job("j", "max_concurrency: 3\n")})
	if err != nil || again.GetCreated() || again.GetDefinition().GetId() != first.GetId() {
		t.Errorf("equal text: %v, %v", again, err)
	}
	dry, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: job("j", "priority: 9\n"), ValidateOnly: true})
	if err != nil || dry.GetCreated() {
		t.Errorf("validate_only: %v, %v", dry, err)
	}
	second := c.upload(job("j", "sem_version: \"1.2.0\"\n"))
	if second.GetVersion() != 2 {
		t.Errorf("version %d after a dry run", second.GetVersion())
	}
	if third := c.upload(job("j", "description: third\n")); third.GetDescription() != "third" {
		t.Errorf("described as %q", third.GetDescription())
	}

	for ref, want := range map[string]int32{"j": 3, "j@1": 1, "j@1.2.0": 2, first.GetId(): 1} {
		res, err := c.definitions.GetJobDefinition(t.Context(), &jobv1.GetJobDefinitionRequest{Id: ref})
		if err != nil || res.GetDefinition().GetVersion() != want || res.GetDefinition().GetYaml() == "" {
			t.Errorf("%s: %v, %v", ref, res, err)
		}
	}
	for _, ref := range []string{"x", "j@9", "j@", "00000000-0000-4000-8000-000000000000"} {
		_, err := c.definitions.GetJobDefinition(t.Context(), &jobv1.GetJobDefinitionRequest{Id: ref})
		if ref == "j@" {
			continue // the same as j
		}
		wantReason(t, err, "DEFINITION_NOT_FOUND")
	}
	page, err := c.definitions.ListJobDefinitionVersions(t.Context(), &jobv1.ListJobDefinitionVersionsRequest{JobType: "j", PageSize: 2})
	if err != nil || len(page.GetDefinitions()) != 2 || page.GetDefinitions()[0].GetVersion() != 3 {
		t.Fatalf("%v, %v", page, err)
	}
	rest, err := c.definitions.ListJobDefinitionVersions(t.Context(), &jobv1.ListJobDefinitionVersionsRequest{JobType: "j", PageSize: 2, PageToken: page.GetNextPageToken()})
	if err != nil || len(rest.GetDefinitions()) != 1 || rest.GetDefinitions()[0].GetVersion() != 1 || rest.GetNextPageToken() != "" {
		t.Errorf("%v, %v", rest, err)
	}
}

// TestOnlyReleasesOfPluginsAreFixed uploads other texts under a sem_version that is taken.
func TestOnlyReleasesOfPluginsAreFixed(t *testing.T) {
	c := newColony(t)
	const plugin = "org.example.build"
	text := func(jobType, version, more string) string {
		if jobType == plugin {
			more += "public_plugin: true\n"
		}
		return job(jobType, "sem_version: "+version+"\n"+more)
	}
	for _, tt := range []struct {
		jobType, version string
		fixed            bool
	}{
		{"j", "1.2.0", false},
		{"j", "1.2.1-dev", false},
		{plugin, "1.2.0-dev", false},
		{plugin, "1.2.0-rc1+build-7", false},
		{plugin, "1.2.0", true},
		{plugin, "1.3.0+build-7", true},
	} {
		first := c.upload(text(tt.jobType, tt.version, "priority: 1\n"))
		_, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: text(tt.jobType, tt.version, "priority: 2\n")})
		if tt.fixed {
			wantReason(t, err, "SEM_VERSION_TAKEN")
		} else if err != nil {
			t.Errorf("%s %s: %v", tt.jobType, tt.version, err)
		}
		got, err := c.definitions.GetJobDefinition(t.Context(), &jobv1.GetJobDefinitionRequest{Id: tt.jobType + "@" + tt.version})
		if newer := got.GetDefinition().GetVersion() > first.GetVersion(); err != nil || newer == tt.fixed {
			t.Errorf("%s %s: version %d after %d, %v", tt.jobType, tt.version, got.GetDefinition().GetVersion(), first.GetVersion(), err)
		}
	}
	// The text of a release again is that release, also when it is not the newest any more.
	again, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: text(plugin, "1.2.0", "priority: 1\n")})
	if err != nil || again.GetCreated() || again.GetDefinition().GetSemVersion() != "1.2.0" {
		t.Errorf("%v, %v", again, err)
	}
}

// TestNameOfAVersionMeansTheNewest: what a sem_version was found to mean is not remembered over an upload.
func TestNameOfAVersionMeansTheNewest(t *testing.T) {
	c := newColony(t)
	for want := int32(1); want <= 3; want++ {
		c.upload(job("j", fmt.Sprintf("sem_version: 1.0.0-dev\npriority: %d\n", want)))
		for _, wanted := range []string{"1.0.0-dev", "=1.0.0-dev"} {
			if r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", JobVersion: wanted}); r.GetDefinitionVersion() != want {
				t.Errorf("%s: version %d, want %d", wanted, r.GetDefinitionVersion(), want)
			}
		}
	}
}

func TestDefinitionFaultsAreAllReported(t *testing.T) {
	c := newColony(t)
	for name, yaml := range map[string]string{"garbage": "\x01: [", "empty": "{}", "number": "7", "unknown": job("j", "unknown_field: 1\nunknown_too: 2\n")} {
		_, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: yaml, FileName: "f.yaml"})
		wantReason(t, err, "DEFINITION_INVALID")
		var e *errs.Error
		if !asTyped(err, &e) || len(e.Violations) == 0 || e.Violations[0].Reason == "" {
			t.Errorf("%s: %+v", name, e)
			continue
		}
		if name == "unknown" && (len(e.Violations) != 2 || e.Violations[0].Field != "f.yaml:2:1") {
			t.Errorf("%+v", e.Violations)
		}
	}
	if n := c.count("SELECT count(*) FROM job_type"); n != 0 {
		t.Errorf("%d types are stored", n)
	}
}

func TestConcurrentUploadsGetTheirOwnNumbers(t *testing.T) {
	c := newColony(t)
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { c.upload(job("j", fmt.Sprintf("description: text %d\n", i))) })
	}
	wg.Wait()
	if got := c.count("SELECT count(DISTINCT version) FROM definition"); got != n {
		t.Errorf("%d versions of %d", got, n)
	}
}

func TestDefinitionSwitchAndDelete(t *testing.T) {
	c := newColony(t)
	d := c.upload(job("j", ""))
	if _, err := c.definitions.DisableJobDefinition(t.Context(), &jobv1.DisableJobDefinitionRequest{Id: d.GetId()}); err != nil {
		t.Fatal(err)
	}
	if next := c.upload(job("j", "description: more\n")); !next.GetDisabled() {
		t.Error("an upload undid the operator's switch")
	}
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	if w := c.get(r.GetId()).GetWait(); w.GetGate() != jobv1.Gate_GATE_DISABLED {
		t.Errorf("%v", w)
	}
	on, err := c.definitions.EnableJobDefinition(t.Context(), &jobv1.EnableJobDefinitionRequest{Id: "j"})
	if err != nil || on.GetDefinition().GetDisabled() {
		t.Errorf("%v, %v", on, err)
	}
	_, err = c.definitions.DeleteJobDefinition(t.Context(), &jobv1.DeleteJobDefinitionRequest{Id: "j"})
	wantReason(t, err, "DEFINITION_IN_USE")
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.definitions.DeleteJobDefinition(t.Context(), &jobv1.DeleteJobDefinitionRequest{Id: "j"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j"})
	wantReason(t, err, "DEFINITION_NOT_FOUND")
	if res, err := c.definitions.GetJobDefinition(t.Context(), &jobv1.GetJobDefinitionRequest{Id: d.GetId()}); err != nil || res.GetDefinition().GetVersion() != 1 {
		t.Errorf("a deleted version by its id: %v, %v", res, err)
	}
	list, err := c.definitions.ListJobDefinitions(t.Context(), &jobv1.ListJobDefinitionsRequest{})
	if err != nil || len(list.GetDefinitions()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if again := c.upload(job("j", "")); again.GetVersion() != 3 {
		t.Errorf("version %d after the deletion", again.GetVersion())
	}
}

func TestListDefinitionsByKeyset(t *testing.T) {
	c := newColony(t)
	for _, name := range []string{"c", "a", "b"} {
		c.upload(job(name, ""))
	}
	var names []string
	token := ""
	for {
		res, err := c.definitions.ListJobDefinitions(t.Context(), &jobv1.ListJobDefinitionsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range res.GetDefinitions() {
			names = append(names, d.GetJobType())
		}
		if token = res.GetNextPageToken(); token == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[a b c]" {
		t.Errorf("%v", names)
	}
	_, err := c.definitions.ListJobDefinitions(t.Context(), &jobv1.ListJobDefinitionsRequest{PageToken: "?"})
	wantReason(t, err, "PAGE_TOKEN_INVALID")
	first, err := c.definitions.ListJobDefinitions(t.Context(), &jobv1.ListJobDefinitionsRequest{PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	other := first.GetNextPageToken()
	for list, ask := range map[string]func() error{
		"plugins": func() error {
			_, err := c.definitions.ListPlugins(t.Context(), &jobv1.ListPluginsRequest{PageToken: other})
			return err
		},
		"versions": func() error {
			_, err := c.definitions.ListJobDefinitionVersions(t.Context(), &jobv1.ListJobDefinitionVersionsRequest{JobType: "a", PageToken: other})
			return err
		},
		"requests": func() error {
			_, err := c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{PageToken: other})
			return err
		},
	} {
		if err := ask(); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
			t.Errorf("a token of definitions given to %s: %v", list, err)
		}
	}
}
