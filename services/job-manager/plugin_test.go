package jobmanager_test

import (
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func plugin(semVersion, more string) string {
	return job("io.acme.lint", "public_plugin: true\nsem_version: \""+semVersion+"\"\n"+more)
}

func (c *colony) uploadFor(org, yaml string) *jobv1.JobDefinition {
	c.Helper()
	res, err := c.definitions.CreateJobDefinition(c.of(org), &jobv1.CreateJobDefinitionRequest{Yaml: yaml})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetDefinition()
}

func (c *colony) submitFor(org, jobType string) *jobv1.JobRequest {
	c.Helper()
	res, err := c.requests.SubmitJob(c.of(org), &jobv1.SubmitJobRequest{JobType: jobType})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetRequest()
}

// TestPlugins lets an organisation fork what another one publishes.
func TestPlugins(t *testing.T) {
	c := newColony(t)
	published := c.uploadFor("acme", plugin("1.2.0", "max_concurrency: 1\n"))
	c.uploadFor("acme", job("private", ""))
	c.uploadFor("user", job("parent", ""))
	if !published.GetPublicPlugin() {
		t.Errorf("%v", published)
	}
	_, err := c.definitions.CreateJobDefinition(c.of("user"), &jobv1.CreateJobDefinitionRequest{Yaml: plugin("9.0.0", "")})
	wantReason(t, err, "PLUGIN_TAKEN")
	list, err := c.definitions.ListPlugins(c.of("user"), &jobv1.ListPluginsRequest{})
	if err != nil || len(list.GetDefinitions()) != 1 || list.GetDefinitions()[0].GetId() != published.GetId() || list.GetDefinitions()[0].GetYaml() != "" {
		t.Errorf("%v, %v", list, err)
	}
	_, err = c.requests.SubmitJob(c.of("user"), &jobv1.SubmitJobRequest{JobType: "io.acme.lint"})
	wantReason(t, err, "DEFINITION_NOT_FOUND") // people run what is theirs

	parent := c.submitFor("user", "parent")
	ranged := childOf(parent, "k1", "io.acme.lint")
	ranged.JobVersion = "^1.1"
	answers := c.fork(ranged, childOf(parent, "k2", "io.acme.lint"), childOf(parent, "k3", "private"))
	if answers[2].GetReason() != "JOB_TYPE_NOT_FOUND" {
		t.Errorf("%v", answers[2])
	}
	child, err := c.requests.GetJobRequest(c.of("user"), &jobv1.GetJobRequestRequest{Id: answers[0].GetRequestId()})
	if err != nil || child.GetRequest().GetOrgId() != "user" || child.GetRequest().GetDefinitionId() != published.GetId() {
		t.Fatalf("%v, %v", child, err)
	}
	_, err = c.requests.GetJobRequest(c.of("acme"), &jobv1.GetJobRequestRequest{Id: answers[0].GetRequestId()})
	wantReason(t, err, "REQUEST_NOT_FOUND")

	// The scheduler sees the queue of the organisation that forks, with the limit of the plugin.
	types := map[string]*jobv1.QueuedType{}
	for _, q := range c.queue(10).GetTypes() {
		types[q.GetOrgId()+"/"+q.GetJobType()] = q
	}
	if q := types["user/io.acme.lint"]; q.GetMaxConcurrency() != 1 || q.GetPending() != 2 || q.GetDisabled() {
		t.Errorf("%v", types)
	}
	c.admit(answers[0].GetRequestId())
	launches, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: answers[0].GetRequestId(), Run: 1}}})
	if err != nil || len(launches.GetLaunches()) != 1 || launches.GetLaunches()[0].GetErrorCode() != "" || launches.GetLaunches()[0].GetOrgId() != "user" {
		t.Errorf("%v, %v", launches, err)
	}
	// Supervisor reads the text on behalf of the organisation that runs it; what is private stays so.
	if res, err := c.definitions.GetJobDefinition(c.of("user"), &jobv1.GetJobDefinitionRequest{Id: published.GetId()}); err != nil || res.GetDefinition().GetYaml() == "" {
		t.Errorf("%v, %v", res, err)
	}
	_, err = c.definitions.GetJobDefinition(c.of("user"), &jobv1.GetJobDefinitionRequest{Id: "private"})
	wantReason(t, err, "DEFINITION_NOT_FOUND")
	for _, id := range []string{published.GetId(), "io.acme.lint"} {
		_, err = c.definitions.DeleteJobDefinition(c.of("user"), &jobv1.DeleteJobDefinitionRequest{Id: id})
		wantReason(t, err, "DEFINITION_NOT_FOUND")
		_, err = c.definitions.DisableJobDefinition(c.of("user"), &jobv1.DisableJobDefinitionRequest{Id: id})
		wantReason(t, err, "DEFINITION_NOT_FOUND")
	}
}

// TestPluginChanges follows the owner's switch and limit, and an own type of the same name.
func TestPluginChanges(t *testing.T) {
	c := newColony(t)
	c.start("other")
	elsewhere := jobv1.NewJobDefinitionServiceClient(c.dial("other"))
	c.uploadFor("acme", plugin("1.0.0", "max_concurrency: 1\n"))
	c.uploadFor("user", job("parent", ""))
	parent := c.submitFor("user", "parent")
	first := c.fork(childOf(parent, "k1", "io.acme.lint"))[0]
	wait := func() *jobv1.Wait {
		res, err := c.requests.GetJobRequest(c.of("user"), &jobv1.GetJobRequestRequest{Id: first.GetRequestId()})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetRequest().GetWait()
	}
	if _, err := elsewhere.DisableJobDefinition(c.of("acme"), &jobv1.DisableJobDefinitionRequest{Id: "io.acme.lint"}); err != nil {
		t.Fatal(err)
	}
	if w := wait(); w.GetGate() != jobv1.Gate_GATE_DISABLED {
		t.Errorf("%v", w)
	}
	if a := c.fork(childOf(parent, "k2", "io.acme.lint"))[0]; a.GetReason() != "JOB_DISABLED" {
		t.Errorf("%v", a)
	}
	if _, err := elsewhere.EnableJobDefinition(c.of("acme"), &jobv1.EnableJobDefinitionRequest{Id: "io.acme.lint"}); err != nil {
		t.Fatal(err)
	}
	c.uploadFor("acme", plugin("1.1.0", "max_concurrency: 7\n"))
	for _, q := range c.queue(10).GetTypes() {
		if q.GetJobType() == "io.acme.lint" && (q.GetMaxConcurrency() != 7 || q.GetDisabled()) {
			t.Errorf("%v", q)
		}
	}
	// A range follows what another replica stores.
	ranged := childOf(parent, "k3", "io.acme.lint")
	ranged.JobVersion = ">=1 <2"
	version := func(a *jobv1.ChildAnswer) int32 {
		res, err := c.requests.GetJobRequest(c.of("user"), &jobv1.GetJobRequestRequest{Id: a.GetRequestId()})
		if err != nil {
			t.Fatalf("%v: %v", a, err)
		}
		return res.GetRequest().GetDefinitionVersion()
	}
	if v := version(c.fork(ranged)[0]); v != 2 {
		t.Errorf("version %d", v)
	}
	if _, err := elsewhere.CreateJobDefinition(c.of("acme"), &jobv1.CreateJobDefinitionRequest{Yaml: plugin("1.2.0", "")}); err != nil {
		t.Fatal(err)
	}
	ranged.Key = "k4"
	if v := version(c.fork(ranged)[0]); v != 3 {
		t.Errorf("version %d", v)
	}
	// An own type of the name hides the plugin, also when another replica stores it.
	own, err := elsewhere.CreateJobDefinition(c.of("user"), &jobv1.CreateJobDefinitionRequest{Yaml: job("io.acme.lint", "")})
	if err != nil {
		t.Fatal(err)
	}
	mine, err := c.requests.GetJobRequest(c.of("user"), &jobv1.GetJobRequestRequest{Id: c.fork(childOf(parent, "k5", "io.acme.lint"))[0].GetRequestId()})
	if err != nil || mine.GetRequest().GetDefinitionId() != own.GetDefinition().GetId() {
		t.Errorf("%v, %v", mine, err)
	}
	ranged.Key = "k6"
	if a := c.fork(ranged)[0]; a.GetReason() != "VERSION_NOT_FOUND" {
		t.Errorf("%v", a)
	}
	// What is no plugin any more is not found; what was forked keeps its version.
	if _, err := c.requests.CancelJobRequest(c.of("user"), &jobv1.CancelJobRequestRequest{Id: mine.GetRequest().GetId()}); err != nil {
		t.Fatal(err)
	}
	other := c.submitFor("third", c.uploadFor("third", job("parent", "")).GetJobType())
	c.fork(childOf(other, "t1", "io.acme.lint"))
	c.uploadFor("acme", job("io.acme.lint", "sem_version: \"2.0.0\"\n"))
	if a := c.fork(childOf(other, "t2", "io.acme.lint"))[0]; a.GetReason() != "JOB_TYPE_NOT_FOUND" {
		t.Errorf("%v", a)
	}
	if got := c.fork(childOf(other, "t1", "io.acme.lint"))[0]; got.GetRequestId() == "" {
		t.Errorf("%v", got)
	}
}

// TestVersionRanges submits by ranges.
func TestVersionRanges(t *testing.T) {
	c := newColony(t)
	for _, v := range []string{"1.0.0", "1.4.2", "1.3.9", "2.0.0-rc1"} {
		c.upload(job("j", "sem_version: \""+v+"\"\n"))
	}
	for version, want := range map[string]int32{"^1.2": 2, "~1.3": 3, ">=1 <2": 2, "1.0.0": 1, "3": 3, "": 4, ">=2.0.0-0": 4} {
		if r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", JobVersion: version}); r.GetDefinitionVersion() != want {
			t.Errorf("%q: version %d, want %d", version, r.GetDefinitionVersion(), want)
		}
	}
	for _, version := range []string{"^2", "9", "latest?"} {
		_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", JobVersion: version})
		wantReason(t, err, "VERSION_NOT_FOUND")
	}
	c.start("other")
	if _, err := jobv1.NewJobDefinitionServiceClient(c.dial("other")).CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: job("j", "sem_version: 1.9.0\n")}); err != nil {
		t.Fatal(err)
	}
	if r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", JobVersion: "^1.2"}); r.GetDefinitionVersion() != 5 {
		t.Errorf("%v", r)
	}
}
