package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit/routetest"
	_ "github.com/formicary/formicary/proto/gen/formicary/execution/v1" // the routes of all services
	_ "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	_ "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	_ "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	_ "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
)

// tenant makes calls as an administrator of one organisation.
type tenant struct {
	*world
	org, user string
}

// ask makes a call and returns its status and body.
func (x tenant) ask(verb, path, contentType, body string) (code int, answer string) {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), verb, x.base+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Formicary-Org", x.org)
	req.Header.Set("X-Formicary-User", x.user)
	req.Header.Set("X-Formicary-Roles", "org-admin")
	res, err := x.http.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// must makes a call that works and decodes its answer.
func (x tenant) must(verb, path, contentType, body string, out any) {
	x.t.Helper()
	code, answer := x.ask(verb, path, contentType, body)
	if code != http.StatusOK {
		x.t.Fatalf("%s %s as %s: %d %s", verb, path, x.org, code, answer)
	}
	if out != nil {
		if err := json.NewDecoder(bytes.NewReader([]byte(answer))).Decode(out); err != nil {
			x.t.Fatalf("%s %s: %v in %s", verb, path, err, answer)
		}
	}
}

const tenantJob = `
job_type: acme-canary-job
tasks:
  - task_type: acme-canary-task
    method: SHELL
    script: ["echo acme-canary-line", "echo acme-canary-content > out.txt"]
    artifacts: {paths: [out.txt]}
    cache: {key: acme-canary-key, paths: [out.txt]}
    on_completed: acme-canary-gate
  - task_type: acme-canary-gate
    method: MANUAL
    on_exit_code: {APPROVED: COMPLETED, REJECTED: FAILED}
`

// TestOtherOrganisationsAreNotThere fills an organisation and walks every path of the API as the administrator of another
// one: what is named does not exist, lists are empty, and nothing is changed.
func TestOtherOrganisationsAreNotThere(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	acme, rival := tenant{w, "acme", "ann"}, tenant{w, "rival", "eve"}
	const text = "application/json"
	var def struct {
		Definition struct{ ID string } `json:"definition"`
	}
	acme.must("POST", "/api/v1/jobs/definitions", "application/yaml", tenantJob, &def)
	var sub struct{ Request struct{ ID string } }
	acme.must("POST", "/api/v1/jobs/requests", text, `{"job_type":"acme-canary-job","description":"acme-canary-request"}`, &sub)
	w.eventually("the job waits for its approval", func() bool {
		_, answer := acme.ask("GET", "/api/v1/jobs/requests/"+sub.Request.ID, text, "")
		return strings.Contains(answer, `"MANUAL_APPROVAL_REQUIRED"`)
	})
	var rule struct {
		ErrorCode struct{ ID string } `json:"error_code"`
	}
	acme.must("POST", "/api/v1/error-codes", text, `{"regex":"acme-canary-error","error_code":"ERR_ACME"}`, &rule)
	acme.must("PUT", "/api/v1/jobs/acme-canary-job/configs/acme-canary-config", text, `{"value":"acme-canary-value"}`, nil)
	acme.must("PUT", "/api/v1/orgs/acme/secrets/ACME_CANARY", text, `{"value":"acme-canary-secret"}`, nil)
	var files struct{ Artifacts []struct{ ID string } }
	acme.must("GET", "/api/v1/artifacts", text, "", &files)
	var caches struct{ Caches []struct{ ID string } }
	acme.must("GET", "/api/v1/caches", text, "", &caches)
	if len(files.Artifacts) == 0 || len(caches.Caches) == 0 {
		t.Fatalf("artifacts %v, caches %v", files, caches)
	}
	before := acme.everything()

	value := func(path string) func(name, form string) string {
		return func(name, form string) string {
			switch {
			case form != "":
				return map[string]string{"jobs/*": "jobs/acme-canary-job", "orgs/*": "orgs/acme", "users": "users"}[form]
			case name == "task":
				return "acme-canary-task"
			case name == "job_type":
				return "acme-canary-job"
			case name == "request_id", strings.Contains(path, "/requests/"):
				return sub.Request.ID
			case strings.Contains(path, "/definitions/"):
				return def.Definition.ID
			case strings.Contains(path, "/artifacts/"):
				return files.Artifacts[0].ID
			case strings.Contains(path, "/caches/"):
				return caches.Caches[0].ID
			case strings.Contains(path, "/error-codes/"), strings.Contains(path, "/errors/"):
				return rule.ErrorCode.ID
			case strings.Contains(path, "secrets/{name}"):
				return "ACME_CANARY"
			case strings.Contains(path, "configs/{name}"):
				return "acme-canary-config"
			}
			return "acme"
		}
	}
	walked := 0
	for _, m := range routetest.Methods() {
		for _, r := range m.Routes {
			if m.Rule.Stream && !strings.Contains(r.Path, "{") {
				continue // streams of one's own organisation, which do not end
			}
			body := ""
			if r.Verb != "GET" && r.Verb != "DELETE" {
				body = "{}"
			}
			path := r.Fill(value(r.Path))
			code, answer := rival.ask(r.Verb, path, text, body)
			walked++
			for _, word := range []string{"value", "secret", "line", "content", "request", "error", "key"} {
				if strings.Contains(answer, "acme-canary-"+word) {
					t.Errorf("%s %s tells rival of acme: %d %s", r.Verb, path, code, answer)
				}
			}
			// A job type or the scope of users by name is rival's own: it may set configs for a job that it has not yet.
			own := strings.Contains(r.Path, "scope=users") || strings.Contains(r.Path, "scope=jobs")
			if strings.Contains(r.Path, "{") && !own && code == http.StatusOK && !empty(answer) {
				t.Errorf("%s %s works for rival: %s", r.Verb, path, answer)
			}
		}
	}
	for _, path := range []string{"/api/v1/artifacts/" + files.Artifacts[0].ID + "/download", "/api/artifacts/" + files.Artifacts[0].ID + "/download/raw"} {
		if code, answer := rival.ask("GET", path, text, ""); code != http.StatusNotFound {
			t.Errorf("GET %s works for rival: %d %s", path, code, answer)
		}
	}
	if walked < 100 {
		t.Errorf("only %d paths were walked", walked)
	}
	if after := acme.everything(); after != before {
		t.Errorf("what acme has is changed:\n%s\nbefore:\n%s", after, before)
	}
	// The same object that does not exist at all: nobody can tell the difference.
	_, theirs := rival.ask("GET", "/api/v1/jobs/requests/"+sub.Request.ID, text, "")
	_, none := rival.ask("GET", "/api/v1/jobs/requests/01a22a67-9f82-70f9-8a93-840c7f109fb0", text, "")
	if cut(theirs, sub.Request.ID) != cut(none, "01a22a67-9f82-70f9-8a93-840c7f109fb0") {
		t.Errorf("an object of another organisation is told apart from none:\n%s\n%s", theirs, none)
	}
	acme.goesOn(sub.Request.ID, files.Artifacts[0].ID)
	acme.lends(rival)
}

// ends waits until a request of the organisation is in a state.
func (x tenant) ends(id, state string) {
	x.t.Helper()
	x.eventually("request "+id+" of "+x.org+" is "+state, func() bool {
		_, answer := x.ask("GET", "/api/v1/jobs/requests/"+id, "application/json", "")
		return strings.Contains(answer, `"`+state+`"`)
	})
}

// goesOn does with a request that waits for its approval what people of the organisation do: all that others may not works for them.
func (x tenant) goesOn(id, artifact string) {
	x.t.Helper()
	const text = "application/json"
	of := "/api/v1/jobs/requests/" + id
	voter := tenant{x.world, x.org, "bob"}
	voter.must("POST", of+"/tasks/acme-canary-gate/vote", text, `{"decision":"APPROVED"}`, nil)
	x.ends(id, "COMPLETED")
	for path, want := range map[string]string{
		of + "/explain": "COMPLETED", of + "/execution": "COMPLETED", of + "/tasks": "acme-canary-task", of + "/logs/search?pattern=canary": "acme-canary-line",
		of + "/tasks/acme-canary-task/log": "", of + "/notifications": "", "/api/v1/artifacts/" + artifact + "/files": "out.txt",
		"/api/v1/artifacts/" + artifact + "/download": "",
	} {
		if code, answer := x.ask("GET", path, text, ""); code != http.StatusOK || !strings.Contains(answer, want) {
			x.t.Errorf("GET %s: %d %s", path, code, answer)
		}
	}
	x.must("POST", of+"/restart", text, `{"hard":true}`, nil)
	x.ends(id, "MANUAL_APPROVAL_REQUIRED")
	x.must("POST", of+"/pause", text, `{}`, nil)
	x.must("POST", of+"/cancel", text, `{"reason":"enough"}`, nil)
	x.ends(id, "CANCELLED")
	x.must("DELETE", "/api/v1/artifacts/"+artifact, text, "", nil)
	x.must("POST", "/api/v1/jobs/definitions/acme-canary-job/disable", text, "{}", nil)
	x.must("POST", "/api/v1/jobs/definitions/acme-canary-job/enable", text, "{}", nil)
}

// lends publishes a plugin, which another organisation forks; what that makes is not the publisher's to see.
func (x tenant) lends(to tenant) {
	x.t.Helper()
	const yaml, text = "application/yaml", "application/json"
	plugin := func(version string) string {
		return "job_type: io.acme.say\npublic_plugin: true\nsem_version: \"" + version + "\"\ntasks:\n  - task_type: say\n    method: SHELL\n    script: [echo lent]\n"
	}
	x.must("POST", "/api/v1/jobs/definitions", yaml, plugin("1.0.0"), nil)
	to.must("POST", "/api/v1/jobs/definitions", yaml, "job_type: borrows\ntasks:\n  - task_type: fork\n    method: FORK_JOB\n    fork_job_type: io.acme.say\n    sub_workflow: {wait_for_completion: true}\n", nil)
	var sub struct{ Request struct{ ID string } }
	to.must("POST", "/api/v1/jobs/requests", text, `{"job_type":"borrows"}`, &sub)
	to.ends(sub.Request.ID, "COMPLETED")
	var children struct{ Requests []struct{ ID string } }
	to.must("GET", "/api/v1/jobs/requests?job_type=io.acme.say", text, "", &children)
	if len(children.Requests) != 1 {
		x.t.Fatalf("%d children", len(children.Requests))
	}
	child := children.Requests[0].ID
	if code, answer := x.ask("GET", "/api/v1/jobs/requests/"+child, text, ""); code != http.StatusNotFound {
		x.t.Errorf("who publishes a plugin sees what others do with it: %d %s", code, answer)
	}
	x.must("POST", "/api/v1/jobs/definitions", yaml, plugin("1.1.0"), nil)
	to.must("POST", "/api/v1/jobs/requests/"+child+"/restart", text, `{"job_version":"^1.0"}`, nil) // finds the new version
	to.ends(child, "COMPLETED")
	x.must("POST", "/api/v1/jobs/definitions/io.acme.say/disable", text, "{}", nil)
	var again struct{ Request struct{ ID string } }
	to.must("POST", "/api/v1/jobs/requests", text, `{"job_type":"borrows"}`, &again)
	to.ends(again.Request.ID, "FAILED") // the switch is the publisher's, in the rows of who borrows
}

// cut removes what differs between two answers that say the same.
func cut(answer, id string) string {
	answer = strings.ReplaceAll(answer, id, "ID")
	before, rest, ok := strings.Cut(answer, `"request_id":"`)
	if !ok {
		before, rest, _ = strings.Cut(answer, `"request_id": "`)
	}
	_, after, _ := strings.Cut(rest, `"`)
	return before + after
}

// empty says that an answer holds nothing: a list without items.
func empty(answer string) bool {
	var fields map[string]any
	if json.Unmarshal([]byte(answer), &fields) != nil {
		return false
	}
	for _, v := range fields {
		switch v := v.(type) {
		case []any:
			if len(v) > 0 {
				return false
			}
		case string:
			if v != "" {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// everything returns what an organisation has, as far as people see it.
func (x tenant) everything() string {
	x.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/jobs/definitions", "/jobs/requests", "/artifacts", "/caches", "/error-codes", "/jobs/acme-canary-job/configs", "/orgs/acme/secrets"} {
		var list any
		x.must("GET", "/api/v1"+path, "application/json", "", &list)
		raw, err := json.Marshal(list)
		if err != nil {
			x.t.Fatal(err)
		}
		all.Write(append(raw, '\n'))
	}
	return all.String()
}
